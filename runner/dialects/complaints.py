"""Turns a wrong value into all its complaints, by the declarations that refused it.

`msgspec` stops at the first fault; a person wants to hear of all of them at once. So the value is
walked along the same structs (`msgspec.inspect`), and each fault is told with its path, what is
wrong, and the nearest known name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from math import isfinite

from msgspec import Struct, inspect

from runner.core.errors import quoted
from runner.core.model import Complaint, Json


class Found(Struct, frozen=True):
    """One fault; `unknown` where a server that grew a field or a word would not mind it."""

    path: str
    what: str
    unknown: bool = False

    @property
    def complaint(self) -> Complaint:
        """The fault as a person is told it."""
        return Complaint(self.path, self.what)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the nearest known name, or "" where none is near."""
    near = get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def faults(
    value: Json, declared: object, path: str = "", notes: Mapping[str, str] | None = None
) -> list[Found]:
    """Return all that is wrong with a value by its declared type, in the order of the value.

    `notes` says more than "no such field" about some unknown fields, by their paths.
    """
    return list(_walk(value, _declaration(declared), path, notes or {}))


@cache
def _declaration(declared: object) -> inspect.Type:
    return inspect.type_info(declared)


def joined(path: str, name: str) -> str:
    """Return the path of a member: "a.b", or "a['odd name']"."""
    if len(name) > 60 or not re.fullmatch(r"[\w-]+", name):
        return f"{path}[{visible(name)}]"
    return f"{path}.{name}" if path else name


def _walk(value: Json, kind: inspect.Type, path: str, notes: Mapping[str, str]) -> Iterator[Found]:
    kinds = _members(kind)
    if isinstance(kinds[0], inspect.RawType):
        return
    match value:
        case dict():
            yield from _object(value, kinds, path, notes)
        case list():
            yield from _list(value, kinds, path, notes)
        case str():
            yield from _text(value, kinds, path)
        case None if any(isinstance(one, inspect.NoneType) for one in kinds):
            pass
        case bool() if any(isinstance(one, inspect.BoolType) for one in kinds):
            pass
        case int() | float() if not isinstance(value, bool):
            yield from _number(value, kinds, path)
        case _:
            yield _misfit(value, kinds, path)


def _members(kind: inspect.Type) -> list[inspect.Type]:
    # A pattern's description hides the type behind a wrapper.
    if isinstance(kind, inspect.UnionType):
        return [member for one in kind.types for member in _members(one)]
    return [kind]


def _object(
    value: dict[str, Json], kinds: list[inspect.Type], path: str, notes: Mapping[str, str]
) -> Iterator[Found]:
    structs = [one for one in kinds if isinstance(one, inspect.StructType)]
    for one in kinds:
        if isinstance(one, inspect.DictType):
            yield from _map(value, one, path, notes)
            return
    if not structs:
        yield _misfit(value, kinds, path)
    elif structs[0].tag_field is None:
        yield from _struct(value, structs[0], path, notes)
    else:
        yield from _tagged(value, structs, path, notes)


def _tagged(
    value: dict[str, Json],
    structs: list[inspect.StructType],
    path: str,
    notes: Mapping[str, str],
) -> Iterator[Found]:
    field = structs[0].tag_field or "type"
    where = joined(path, field)
    words = [str(one.tag) for one in structs]
    word = value.get(field)
    if field not in value:
        yield Found(where, f"missing; {_one_of(words)} is needed")
    elif not isinstance(word, str):
        yield Found(where, f"{shown(word)} is {_sort(word)}; {_one_of(words)} is needed")
    elif word not in words:
        yield _unknown_word(word, words, where)
    else:
        yield from _struct(value, structs[words.index(word)], path, notes)


def _struct(
    value: dict[str, Json], struct: inspect.StructType, path: str, notes: Mapping[str, str]
) -> Iterator[Found]:
    known = {one.encode_name: one for one in struct.fields}
    for name, one in value.items():
        if name in known:
            yield from _walk(one, known[name].type, joined(path, name), notes)
        elif struct.forbid_unknown_fields and name != struct.tag_field:
            where = joined(path, name)
            told = notes.get(where) or f"no such field{nearest(name, known)}"
            yield Found(where, told, unknown=True)
    for name, declared in known.items():
        if declared.required and name not in value:
            needed = _needed(_members(declared.type))
            yield Found(joined(path, name), f"missing; {needed} is needed")


def _map(
    value: dict[str, Json], kind: inspect.DictType, path: str, notes: Mapping[str, str]
) -> Iterator[Found]:
    yield from _length(len(value), kind.min_length, kind.max_length, "pairs", path)
    for name, one in list(value.items())[: kind.max_length]:
        where = joined(path, name)
        for found in _walk(name, kind.key_type, where, notes):
            yield Found(where, f"the name {found.what}")
        yield from _walk(one, kind.value_type, where, notes)


def _list(
    value: list[Json], kinds: list[inspect.Type], path: str, notes: Mapping[str, str]
) -> Iterator[Found]:
    for kind in kinds:
        if isinstance(kind, inspect.ListType):
            yield from _length(len(value), kind.min_length, kind.max_length, "entries", path)
            # What is too long is told once; its two thousand entries are not.
            for index, one in enumerate(value[: kind.max_length]):
                yield from _walk(one, kind.item_type, f"{path}[{index}]", notes)
            return
    yield _misfit(value, kinds, path)


def _text(value: str, kinds: list[inspect.Type], path: str) -> Iterator[Found]:
    words: list[str] = []
    for kind in kinds:
        bare = kind.type if isinstance(kind, inspect.Metadata) else kind
        if isinstance(bare, inspect.StrType):
            yield from _length(len(value), bare.min_length, bare.max_length, "characters", path)
            if bare.pattern and not re.search(bare.pattern, value):
                yield Found(path, f"{shown(value)} is not {_needed([kind])}")
            return
        if isinstance(kind, inspect.LiteralType):
            words = [str(word) for word in kind.values]
    if not words:
        yield _misfit(value, kinds, path)
    elif value not in words:
        yield _unknown_word(value, words, path)


def _unknown_word(value: str, words: list[str], path: str) -> Found:
    told = f"{shown(value)} is not known; use {_one_of(words)}{nearest(value, words)}"
    return Found(path, told, unknown=True)


def _number(value: float, kinds: list[inspect.Type], path: str) -> Iterator[Found]:
    for kind in kinds:
        whole = isinstance(kind, inspect.IntType) and isinstance(value, int)
        if whole or isinstance(kind, inspect.FloatType):
            assert isinstance(kind, inspect.IntType | inspect.FloatType)  # noqa: S101 - for the checker
            if kind.le is not None and value > kind.le:
                yield Found(path, f"{shown(value)} is above {_plain(kind.le)}; {_way_out(kind)}")
            elif kind.ge is not None and value < kind.ge:
                yield Found(path, f"{shown(value)} is below {_plain(kind.ge)}; {_way_out(kind)}")
            elif not isfinite(value):
                yield Found(path, f"{shown(value)} is no number that JSON can hold")
            return
    yield _misfit(value, kinds, path)


def _length(
    length: int, least: int | None, most: int | None, unit: str, path: str
) -> Iterator[Found]:
    if most is not None and length > most:
        yield Found(path, f"has {length} {unit}; at most {most} are allowed")
    if least is not None and length < least:
        yield Found(
            path, "is empty" if length == 0 else f"has {length} {unit}; at least {least} needed"
        )


def _misfit(value: Json, kinds: list[inspect.Type], path: str) -> Found:
    needed = _needed(kinds)
    if value is None:
        return Found(path, f"null is not allowed; {needed} is needed, or drop the field")
    return Found(path, f"{shown(value)} is {_sort(value)}; {needed} is needed")


def _way_out(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f"set {_plain(kind.ge)} to {_plain(kind.le)}, or drop the field"
    bound = f"at least {_plain(kind.ge)}" if kind.ge is not None else f"at most {_plain(kind.le)}"
    return f"set {bound}, or drop the field"


def _needed(kinds: list[inspect.Type]) -> str:
    told: dict[str, None] = {}
    for kind in kinds:
        if not isinstance(kind, inspect.NoneType):
            told[_noun(kind)] = None
    return " or ".join(told)


def _noun(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(extra_json_schema=schema) if schema:
            return str(schema["description"])
        case inspect.StrType():
            return "a string"
        case inspect.LiteralType(values=values):
            return _one_of([str(word) for word in values])
        case inspect.IntType() | inspect.FloatType():
            noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            return noun + _range(kind)
        case inspect.BoolType():
            return "true or false"
        case inspect.ListType():
            return "a list"
        case _:
            return "an object"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {_plain(kind.ge)} to {_plain(kind.le)}"
    return f" of at least {_plain(kind.ge)}" if kind.ge is not None else ""


def _one_of(words: list[str]) -> str:
    told = ", ".join(f"'{word}'" for word in words)
    return f"one of {told}" if len(words) > 1 else told


def _plain(bound: float | None) -> str:
    return f"{bound:g}" if bound is not None else ""


def visible(text: str) -> str:
    """Return text in quotes, cut, with every character that a terminal might act on escaped."""
    if not text.isprintable():
        text = "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text[:60])
    return quoted(text)


def shown(value: Json) -> str:
    """Return a value as a complaint quotes it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return visible(value)
        case int() | float():
            return quoted(value) if len(str(value)) > 60 else str(value)
        case list():
            return "[…]" if value else "[]"
        case _:
            return "{…}" if value else "{}"


def _sort(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"
