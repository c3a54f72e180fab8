"""The exact way to read a line: every fault with its place, however long it takes.

The standard library's parser is used because it hands over each object's pairs and each number's
text. What it lets pass and JSON forbids (RFC 8259) or no API takes is found in a walk.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice

import msgspec

from runner.core.errors import quoted
from runner.core.model import Complaint

DEEPEST = 200
"""Levels of objects and lists in a line. Parsers differ from about 500 on (stack, version); the
deepest that the API documents is ten levels of a schema."""

MOST_TOLD = 20
"""Complaints of one line that are told one by one: a line may hold a million NaN."""


class _Pairs(list[tuple[str, object]]):
    """A JSON object as its pairs: a dict would have lost a duplicate."""


class _Forbidden(str):
    """A number that JSON or a double cannot hold, as written."""

    __slots__ = ()


def decode_exactly(line: bytes) -> dict[str, object] | list[Complaint]:
    """Parse a line to plain values, its numbers as `msgspec.Raw`, or say what is wrong with it.

    A fault of syntax is the only complaint, as what follows it means nothing. All others are told
    together, `MOST_TOLD` at the most.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        wrong = line[error.start]
        return [Complaint("", f"byte {error.start + 1} (0x{wrong:02x}) is not UTF-8")]
    if _is_deep(text):
        return [Complaint("", f"is nested more than {DEEPEST} levels deep")]
    try:
        parsed = _PARSER.decode(text)
    except json.JSONDecodeError as error:
        return [_syntax(text, error)]
    if not isinstance(parsed, _Pairs):
        return [Complaint("", f"is {kind_of(parsed)}, not an object")]
    faults = _faults("", parsed)
    told = list(islice(faults, MOST_TOLD))
    if told:
        more = sum(1 for _ in faults)
        return [*told, Complaint("", f"and {more:,} more like these")] if more else told
    return {key: _plain(value) for key, value in parsed}


def kind_of(value: object) -> str:
    """Return a JSON value's kind in a person's words, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case _Pairs() | dict():
            return "an object"
        case list():
            return "a list"
        case _Forbidden():
            return value
        case str():
            return "text"
        case _:
            return "a number"


def _float(text: str) -> object:
    return _Forbidden(text) if abs(float(text)) == _INFINITE else msgspec.Raw(text)


_INFINITE = float("inf")
_PARSER = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_float=_float,
    parse_int=msgspec.Raw,  # not int: Python refuses to convert more than 4,300 digits
    parse_constant=_Forbidden,
)

# Possessive, so that a string of megabytes leaves no state behind to come back to.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\]]', re.DOTALL)
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")


def _is_deep(text: str) -> bool:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        mark = token[0]
        if mark in ("{", "["):
            depth += 1
            if depth > DEEPEST:
                return True
        elif mark in ("}", "]"):
            depth -= 1
    return False


def _syntax(text: str, error: json.JSONDecodeError) -> Complaint:
    if text.startswith("\ufeff"):
        return Complaint("", "a byte order mark inside the file; were files joined?")
    if error.msg == "Extra data":
        rest = quoted(text[error.pos :])
        return Complaint("", f"goes on after the object ends, at column {error.colno}: {rest}")
    what = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")
    return Complaint("", f"is not JSON: {what} at column {error.colno}")


def _faults(path: str, value: object) -> Iterator[Complaint]:
    match value:
        case _Pairs():
            times: dict[str, int] = {}
            for key, child in value:
                place = _below(path, key)
                times[key] = times.get(key, 0) + 1
                if times[key] == 2:
                    yield Complaint(place, "stands more than once in its object")
                yield from _half_pairs(place, key)
                yield from _faults(place, child)
        case list():
            for position, child in enumerate(value):
                yield from _faults(f"{path}[{position}]", child)
        case _Forbidden():
            what = "is too large for a number" if value[-1].isdigit() else "is no number in JSON"
            yield Complaint(path, f"{quoted(value)} {what}")
        case str():
            yield from _half_pairs(path, value)
        case _:
            pass


def _half_pairs(path: str, text: str) -> Iterator[Complaint]:
    half = _HALF_PAIR.search(text)
    if half:
        yield Complaint(
            path, f"holds half a surrogate pair, \\u{ord(half[0]):04x}: not a character"
        )


def _below(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{quoted(ascii(key)[1:-1])}]"
    return f"{path}.{key}" if path else key


def _plain(value: object) -> object:
    match value:
        case _Pairs():
            return {key: _plain(child) for key, child in value}
        case list():
            return [_plain(child) for child in value]
        case _:
            return value
