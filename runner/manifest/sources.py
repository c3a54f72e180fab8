"""Where a manifest's bytes come from: a file or standard input, plain, gzip or zstd.

What is compressed is seen from its first bytes, not from its name, so that standard input works
too and a file that was unpacked but not renamed is no trouble.
"""

import gzip
import io
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from runner.core.errors import RunnerError, UsageError, quoted

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STANDARD_INPUT = "-"

_Read: TypeAlias = Callable[[int], bytes]

_ENDINGS = (".gz", ".zst", ".jsonl", ".ndjson", ".json", ".txt")

# Plain or unpacked bytes are handed on in pieces of this size: one system call for about 1,000
# lines.
_PIECE = 256 * 1024

_HEAD = 6

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# A frame to be skipped (RFC 8878, 3.1.2): what pzstd writes first.
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")

# Longest first: a UTF-32 mark begins like a UTF-16 one. The last four are an object's first
# character without a mark (RFC 4627, section 3); other programs on Windows write that.
_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"{\x00\x00\x00", "UTF-32"),
    (b"\x00\x00\x00{", "UTF-32"),
    (b"{\x00", "UTF-16"),
    (b"\x00{", "UTF-16"),
)
_OTHER_FORMATS = (
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"PAR1", "Parquet"),
)


class BrokenOff(RunnerError):  # it tells what happened, like the other RunnerErrors
    """A source that ended or failed in the middle: raised out of a read.

    It does not know how much came before; `after` makes the error for a person.
    """

    def after(self, lines: int) -> RunnerError:
        """Return this error with how many whole lines were read before it."""
        return RunnerError(
            f"{self.what}; {lines:,} whole lines were read before",
            where=self.where,
            remedy=self.remedy,
        )


@contextmanager
def open_manifest(path: str, stdin: BinaryIO) -> Iterator[BinaryIO]:
    """Open a manifest for reading its lines as UTF-8 bytes, a mark at the start left in.

    `-` is `stdin`, which is not closed. Raises `UsageError` for what cannot be opened, or is
    UTF-16, UTF-32 or a format that is not read here. A read raises `BrokenOff` where compressed
    bytes end too soon or are damaged.
    """
    if path == STANDARD_INPUT:
        with _unpacked(stdin, "standard input") as manifest:
            yield manifest
        return
    with _opened(path) as packed, _unpacked(packed, path) as manifest:
        yield manifest


def identity(path: str) -> str | None:
    """Return a fingerprint of a regular file without reading it; None for anything else.

    It changes with each write: size, both times in nanoseconds, and the inode, as a file that is
    put in another's place may bring its times along. Take it before reading. Raises `UsageError`
    where there is no such file.
    """
    if path == STANDARD_INPUT:
        return None
    try:
        found = Path(path).stat()
    except OSError as error:
        raise _unusable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        return None
    parts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return "-".join(str(part) for part in parts)


def batch_name(path: str) -> str:
    """Return a manifest's name without its endings: `runs/sweep.jsonl.gz` is `sweep`.

    Only endings that a manifest has are taken off, so that `eval.v2.jsonl` is `eval.v2`. Raises
    `UsageError` for standard input, which has no name.
    """
    if path == STANDARD_INPUT:
        raise UsageError("has no name", where="standard input", remedy="name the batch by --batch")
    name = Path(path).name
    while True:
        shorter = next((name[: -len(end)] for end in _ENDINGS if name.lower().endswith(end)), "")
        if not shorter:
            return name
        name = shorter


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: str, error: OSError) -> UsageError:
    match error:
        case FileNotFoundError():
            return UsageError("no such file", where=path, remedy="check the path")
        case IsADirectoryError():
            return UsageError("is a directory", where=path, remedy="name the files in it")
        case _:
            return UsageError(f"cannot be read: {_said(error)}", where=path)


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


@contextmanager
def _unpacked(packed: BinaryIO, where: str) -> Iterator[BinaryIO]:
    read: _Read = getattr(packed, "read1", packed.read)
    with ExitStack() as closing:
        source = closing.enter_context(_buffered(read, where))
        head = _head(source)
        if head.startswith(_GZIP):
            unpacked = closing.enter_context(gzip.GzipFile(fileobj=source, mode="rb"))
            source = closing.enter_context(_buffered(unpacked.read1, where))
        elif head.startswith(_ZSTD) or _SKIPPABLE.match(head):
            unzstd = closing.enter_context(zstd.ZstdFile(source, mode="r"))
            source = closing.enter_context(_buffered(unzstd.read1, where))
        _refuse_foreign(_head(source), where)
        yield source


def _buffered(read: _Read, where: str) -> "io.BufferedReader[_Pieces]":
    return io.BufferedReader(_Pieces(read, where), _PIECE)


def _head(source: "io.BufferedReader[_Pieces]") -> bytes:
    try:
        return source.peek(_HEAD)[:_HEAD]
    except BrokenOff as error:
        raise error.after(0) from error


def _refuse_foreign(head: bytes, where: str) -> None:
    for mark, name in _ENCODINGS:
        if head.startswith(mark):
            raise UsageError(f"is {name}", where=where, remedy="save it as UTF-8")
    for mark, name in _OTHER_FORMATS:
        if head.startswith(mark):
            what = "give JSON lines: plain, .gz or .zst"
            raise UsageError(f"is {name}", where=where, remedy=what)


class _Pieces(io.RawIOBase):
    """Hands on pieces as they come, and says in a person's words what broke off.

    It does not wait for a piece to be whole: a pipe's first lines are queued while its writer
    still writes. Only the first piece holds at least `_HEAD` bytes, so that it can be peeked.
    """

    def __init__(self, read: _Read, where: str) -> None:
        super().__init__()
        self._read = read
        self._where = where
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        room = memoryview(buffer)
        piece = self._next(len(room))
        while not self._begun and len(piece) < _HEAD:
            more = self._next(len(room) - len(piece))
            if not more:
                break
            piece += more
        self._begun = True
        room[: len(piece)] = piece
        return len(piece)

    def _next(self, size: int) -> bytes:
        again = "make the file anew; a line that is queued already stays one job"
        try:
            return self._read(size)
        except EOFError as error:
            what = "is cut off inside its compressed bytes"
            raise BrokenOff(what, where=self._where, remedy=again) from error
        except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
            what = f"has damaged compressed bytes ({quoted(error)})"
            raise BrokenOff(what, where=self._where, remedy=again) from error
        except OSError as error:
            raise BrokenOff(f"cannot be read on: {_said(error)}", where=self._where) from error
