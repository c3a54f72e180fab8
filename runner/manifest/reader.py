"""A manifest's bytes to good specs, bad lines and remarks, one at a time.

Memory does not grow with the file, nor with a line: what is longer than the limit is passed over
in pieces. Lines end at a newline byte and nowhere else (U+2028 and U+0085 stand inside strings).
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeAlias

from msgspec import Struct

from runner.core.model import Accepted, BadLine, Complaint, JobSpec, RawFields
from runner.manifest.line import parse
from runner.manifest.sources import BrokenOff

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of a line, its ending not counted, above which it is passed over."""

RAW_KEPT = 1024 * 1024
"""Bytes of a bad line that are kept to be shown (`BadLine.raw`)."""

_PIECE = 64 * 1024
_MARK = b"\xef\xbb\xbf"

Check: TypeAlias = Callable[[bytes, RawFields], Accepted | list[Complaint]]
"""A dialect's opinion of a line that is strict JSON: see `Dialect.check`."""


class Remark(Struct, frozen=True):
    """A warning about a good line; it comes just before the line's `JobSpec`."""

    line: int
    complaint: Complaint


def read(
    source: BinaryIO, check: Check, *, longest: int = LONGEST_LINE
) -> Iterator[JobSpec | BadLine | Remark]:
    """Read a manifest's lines in order; each that is not blank gives one spec or one bad line.

    Lines count from 1, blank ones too. `longest` is in bytes. `source` is what `open_manifest`
    gives; where it breaks off, what was whole has been given, the last piece of a line is dropped,
    and `RunnerError` tells how many lines there were.
    """
    number = 0
    most = longest + len(_MARK) + len(b"\r\n")
    while raw := _next(source, most, number):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_MARK)
        if len(raw) > longest and _is_long(raw, longest):
            yield _passed_over(source, raw, number, longest)
            continue
        line = raw.strip(b" \t\r\n")
        if not line:
            continue
        parsed = parse(line)
        if isinstance(parsed, list):
            yield BadLine(number, tuple(parsed), line[:RAW_KEPT])
            continue
        judged = check(line, parsed.fields)
        if isinstance(judged, list):
            yield BadLine(number, (*parsed.complaints, *judged), line[:RAW_KEPT])
            continue
        if parsed.complaints:
            yield BadLine(number, parsed.complaints, line[:RAW_KEPT])
            continue
        for warning in judged.warnings:
            yield Remark(number, warning)
        yield JobSpec(
            number,
            parsed.custom_id,
            judged.thread_id,
            judged.body,
            judged.extra,
            parsed.digest,
            judged.lane,
        )


def _next(source: BinaryIO, most: int, before: int) -> bytes:
    try:
        return source.readline(most)
    except BrokenOff as error:
        raise error.after(before) from error


def _is_long(raw: bytes, longest: int) -> bool:
    """Whether a line's content is over the limit; without a newline its end may not be here."""
    return not raw.endswith(b"\n") or len(raw[:-1].removesuffix(b"\r")) > longest


def _passed_over(source: BinaryIO, raw: bytes, number: int, longest: int) -> BadLine:
    length = len(raw)
    tail = raw[-2:]
    while not tail.endswith(b"\n") and (piece := _next(source, _PIECE, number - 1)):
        length += len(piece)
        tail = (tail + piece[-2:])[-2:]  # CR and LF may come in two pieces
    length -= 2 if tail == b"\r\n" else tail.endswith(b"\n")
    what = f"is {length:,} bytes long; {longest:,} is the most"
    return BadLine(number, (Complaint("", what),), raw[:RAW_KEPT].rstrip(b"\r\n"))
