"""Takes a JSON object apart into raw values and puts it together again, re-encoding nothing.

A body goes out with the numbers, the order and the escapes that its user wrote: 9007199254740993
and 0.1000000000000000055 would not survive a decode and an encode.
"""

import json
from functools import lru_cache

import msgspec

from runner.core.model import RawFields

_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


def take_apart(body: bytes) -> dict[str, bytes]:
    """Return the top level of a JSON object, name to raw value, in its order.

    Raises ValueError where the bytes are no JSON object.
    """
    try:
        return {name: bytes(value) for name, value in _RAW.decode(body).items()}
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # A lone surrogate is JSON by its grammar (RFC 8259, 8.2), and msgspec refuses it.
        return _scan(body)


def _scan(body: bytes) -> dict[str, bytes]:
    text = body.decode()
    decoder = json.JSONDecoder()
    fields: dict[str, bytes] = {}
    at = _skip(text, 0, "{")
    if text[at : at + 1] == "}":
        return fields
    while True:
        name, at = decoder.raw_decode(text, at)
        start = _skip(text, at, ":")
        _, end = decoder.raw_decode(text, start)
        fields[str(name)] = text[start:end].encode()
        at = _blank(text, end)
        if text[at : at + 1] == "}":
            return fields
        at = _skip(text, at, ",")


def elements(array: bytes) -> list[bytes]:
    """Return the raw values of a JSON array. Raises ValueError where the bytes are none."""
    try:
        return [bytes(value) for value in _RAWS.decode(array)]
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        text = array.decode()
    decoder = json.JSONDecoder()
    values: list[bytes] = []
    at = _skip(text, 0, "[")
    while text[at : at + 1] != "]":
        at = _skip(text, at, ",") if values else at
        _, end = decoder.raw_decode(text, at)
        values.append(text[at:end].encode())
        at = _blank(text, end)
    return values


def _blank(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _skip(text: str, at: int, mark: str) -> int:
    at = _blank(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"no {mark} at character {at}")
    return _blank(text, at + 1)


def put_together(fields: RawFields) -> bytes:
    """Return the JSON object of raw values, in their order."""
    return b"{" + b",".join([_key(name) + value for name, value in fields.items()]) + b"}"


@lru_cache(maxsize=1024)
def _key(name: str) -> bytes:
    # json escapes what msgspec would refuse: a name with a lone surrogate.
    return json.dumps(name).encode() + b":"


def with_pair(metadata: bytes | None, name: str, value: str) -> bytes:
    """Return a metadata map with one pair more, at its end; null and None make a map of one.

    A pair of that name that is there already is left alone, and comes first: `check` refuses it.
    """
    pair = _key(name) + json.dumps(value).encode()
    kept = (metadata or b"").strip()
    if kept in (b"", b"null"):
        return b"{" + pair + b"}"
    if kept[:1] != b"{":
        raise ValueError("metadata is no JSON object")
    inside = kept[:-1].rstrip()
    return inside + (b"" if inside == b"{" else b",") + pair + b"}"


def tagged(fields: RawFields, name: str, value: str) -> dict[str, bytes]:
    """Return the fields with the tag in their metadata, in its place or at the end; "" tags not."""
    if not name:
        return dict(fields)
    return {**fields, "metadata": with_pair(fields.get("metadata"), name, value)}


def streamed(fields: RawFields, *, stream: bool) -> dict[str, bytes]:
    """Return the fields asking for a stream or not, whatever their user asked: Runner follows."""
    if stream:
        return {**fields, "stream": b"true"}
    return {name: b"false" if _is_true(name, value) else value for name, value in fields.items()}


def _is_true(name: str, value: bytes) -> bool:
    return name == "stream" and value.strip() == b"true"
