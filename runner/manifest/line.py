"""One line's strict JSON: an object without doubles, its custom_id, and a digest of the rest.

Two ways lead to the same answer. The quick one is msgspec's; its answer is kept only where a count
proves that it hid nothing (it drops duplicate keys and the sign of `-0`). All else goes the exact
way, in `strict`: slower by an order of magnitude, but it names the place of what is wrong.
"""

import re
from hashlib import blake2b

import msgspec

from runner.core.model import Complaint, RawFields
from runner.manifest.strict import DEEPEST, decode_exactly, kind_of

LONGEST_ID = 512
"""Characters of a custom_id: room for any sensible name, and an index key stays small."""


class Line(msgspec.Struct, frozen=True):
    """A line that is strict JSON; a Struct because it is made ten times as fast as a dataclass.

    `custom_id` is None where the line has none, or a wrong one, of which `complaints` tells.
    `fields` is the top level, custom_id included. `digest` is 16 bytes over the parsed content
    without custom_id: keys sorted at every level, numbers as written, so that spacing, the order
    of keys and the escapes in strings do not matter and all else does.
    """

    custom_id: str | None
    fields: RawFields
    digest: bytes
    complaints: tuple[Complaint, ...] = ()


def parse(line: bytes) -> Line | list[Complaint]:
    """Read one line, its ending taken off, or say all that keeps it from being strict JSON.

    A wrong custom_id does not stop it: the line comes with the complaint, so that the dialect's
    complaints can be told beside it.
    """
    return _parse_quickly(line) or _parse_exactly(line)


def _parse_quickly(line: bytes) -> Line | None:
    try:
        text = line.decode()
        content = _decode(line)
        if isinstance(content, dict) and _is_shallow(text, content):
            custom_id, complaints, colons = _take_id(content)
            canonical = _encode(content)
            # Outside of strings a colon stands for a key, and inside them encoding keeps each: one
            # colon less is a key that stood twice. An escaped colon would make up for it.
            if text.count(":") == colons + canonical.count(b":") and not _hides(text):
                return _made(custom_id, complaints, canonical, line)
    except _REFUSALS:
        pass  # the exact way says why
    return None


def _parse_exactly(line: bytes) -> Line | list[Complaint]:
    content = decode_exactly(line)
    if isinstance(content, list):
        return content
    custom_id, complaints, _ = _take_id(content)
    try:
        return _made(custom_id, complaints, _encode(content), line)
    except _REFUSALS as refusal:
        # Nothing is known that strict JSON allows and msgspec refuses; a line must not end the run.
        return [Complaint("", f"cannot be read as JSON: {refusal}")]


def _as_written(number: str) -> msgspec.Raw:
    # Without an exponent a float overflows only past 308 digits, so few numbers pay for the test.
    if ("e" in number or "E" in number or len(number) > 308) and abs(float(number)) == _INFINITE:
        raise OverflowError(number)
    return msgspec.Raw(number)


_INFINITE = float("inf")
_decode = msgspec.json.Decoder(float_hook=_as_written).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder(order="sorted").encode
_copy = b"".join

# Looks back, so that the search is for a literal: many a custom_id ends like q-0042.
_MINUS_NOUGHT = re.compile(r"-0(?<=[:\[, \t\r]-0)(?![0-9.eE])")

# RecursionError: how deep msgspec goes depends on the caller's stack and on Python's version.
_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)


def _made(
    custom_id: str | None, complaints: tuple[Complaint, ...], canonical: bytes, line: bytes
) -> Line:
    # A msgspec.Raw is no bytes (b"1" != Raw(b"1")), so each is copied; join is the quickest copy.
    fields = {name: _copy((raw,)) for name, raw in _decode_fields(line).items()}
    return Line(custom_id, fields, blake2b(canonical, digest_size=16).digest(), complaints)


def _hides(text: str) -> bool:
    """Whether a colon may be escaped, or an integer be `-0`, which msgspec reads as 0."""
    if "\\" in text and ("\\u003a" in text or "\\u003A" in text):
        return True
    return "-0" in text and _MINUS_NOUGHT.search(text) is not None


def _is_shallow(text: str, content: dict[str, object]) -> bool:
    # A level needs two brackets, so that most lines are too short to be deep.
    if len(text) <= 2 * DEEPEST or text.count("}") + text.count("]") <= DEEPEST:
        return True
    level: list[object] = [content]
    for _ in range(DEEPEST):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else _children(node))
            if isinstance(child, dict | list)
        ]
        if not level:
            return True
    return False


def _children(node: object) -> list[object]:
    return node if isinstance(node, list) else []


def _take_id(content: dict[str, object]) -> tuple[str | None, tuple[Complaint, ...], int]:
    """Take custom_id out; return it, what is wrong with it, and the colons that went with it."""
    if "custom_id" not in content:
        return None, (), 0
    given = content.pop("custom_id")
    if not isinstance(given, str):
        what = f"is {kind_of(given)}, not text; leave it out to have one made"
    elif not given:
        what = "is empty; leave it out to have one made"
    elif len(given) > LONGEST_ID:
        what = f"has {len(given):,} characters; {LONGEST_ID} is the most"
    elif "\0" in given:
        what = "holds a NUL character, which PostgreSQL does not store"
    else:
        return given, (), 1 + given.count(":")
    return None, (Complaint("custom_id", what),), 1
