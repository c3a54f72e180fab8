import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.core.model import Complaint, Json
from runner.manifest import line as line_module
from runner.manifest.line import Line, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['":', " :", "\\u003a", "::", "-0", '"a":1', "]}", "a\\", "q-0042"]
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(-(10**30))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT.filter("custom_id".__ne__), VALUES, max_size=5)
PIECES = st.sampled_from(
    rb"""
    "a": "b" "\u0061" { } [ ] , : 1 -0 0.5 1e999 NaN "\ud800" "\u003a" ":" \ " true -
    """.split()
) | st.sampled_from([b" ", b"\xff"])


def good(line: bytes) -> Line:
    parsed = parse(line)
    assert isinstance(parsed, Line), parsed
    return parsed


def shuffled(value: Json, rng: random.Random) -> Json:
    """Return the same value with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    if isinstance(value, list):
        return [shuffled(child, rng) for child in value]
    return value


class ForbiddenError(Exception):
    pass


def once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ForbiddenError
    for text in [*(key for key, _ in pairs), *(v for _, v in pairs if isinstance(v, str))]:
        text.encode()
    return dict(pairs)


def finite(text: str) -> float:
    if text.strip("-+.0123456789eE") or float(text) in (float("inf"), float("-inf")):
        raise ForbiddenError
    return float(text)


def is_strict(line: bytes) -> bool:
    """Say by the standard library alone whether a line is a strict JSON object."""
    try:
        value = json.loads(
            line.decode(), object_pairs_hook=once_each, parse_float=finite, parse_constant=finite
        )
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, ForbiddenError):
        return False
    return isinstance(value, dict)


@settings(deadline=None, max_examples=60)
@given(OBJECTS, st.integers(0, 99), TEXT | st.none())
def test_order_spacing_escapes_and_custom_id_change_no_digest(
    content: dict[str, Json], seed: int, custom_id: str | None
) -> None:
    plain = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    dressed: Json = content if custom_id is None else {**content, "custom_id": custom_id}
    other = json.dumps(shuffled(dressed, random.Random(seed)), separators=(" ,\t", " : ")).encode()

    assert good(other).digest == good(plain).digest
    is_fine = custom_id and "\0" not in custom_id
    assert good(other).custom_id == (custom_id if is_fine else None)


@settings(deadline=None, max_examples=60)
@given(OBJECTS, OBJECTS)
@example({"a": 1}, {"a": 1.0})
@example({"a": "1"}, {"a": 1})
@example({"a": None}, {})
@example({"a": 0.0}, {"a": -0.0})
@example({"a": True}, {"a": 1})
def test_other_content_has_another_digest(one: dict[str, Json], two: dict[str, Json]) -> None:
    first, second = (json.dumps(content, sort_keys=True).encode() for content in (one, two))

    assert (good(first).digest == good(second).digest) == (first == second)


@settings(deadline=None, max_examples=60)
@given(OBJECTS)
def test_fields_are_the_bytes_of_the_file(content: dict[str, Json]) -> None:
    line = json.dumps(content, separators=(" , ", " : ")).encode()
    fields = good(line).fields

    assert all(type(raw) is bytes for raw in fields.values())
    pairs = (f"{json.dumps(name)} : {raw.decode()}" for name, raw in fields.items())
    assert f"{{{' , '.join(pairs)}}}".encode() == line


@settings(deadline=None, max_examples=200)
@given(st.lists(PIECES, max_size=12).map(b"".join).map(lambda inner: b"{" + inner + b"}"))
@example(b'{"a":1,"a":"\\u003a"}')
@example(b'{"a":1,"a" :2}')
@example(b'{"a":[{"b":1,"b":1}]}')
@example(b'{"a":-0}')
def test_a_line_is_good_exactly_if_it_is_strict_json(line: bytes) -> None:
    assert isinstance(parse(line), Line) == is_strict(line)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_raise(line: bytes) -> None:
    parsed = parse(line)

    assert isinstance(parsed, Line) or (parsed and all(type(c) is Complaint for c in parsed))


@settings(deadline=None, max_examples=60)
@given(OBJECTS)
@example({"custom_id": "x", "n": -0.0, "t": "a:b"})
def test_the_quick_way_and_the_exact_way_agree(content: dict[str, Json]) -> None:
    line = json.dumps(content).encode()

    assert line_module._parse_exactly(line) == parse(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"q-0042","assistant_id":"asst_1","temperature":0.7}',
        b'{"custom_id":"a:b","instructions":"see: \\"x\\": 1 :","metadata":{"k":"2026-01-02"}}',
        '{"instructions":"Voici : é\\u00e9 𝄞","top_p":1e-3}'.encode(),
    ],
)
def test_an_ordinary_line_takes_the_quick_way(line: bytes) -> None:
    assert line_module._parse_quickly(line) is not None


def test_numbers_are_kept_as_written() -> None:
    line = b'{"max":9007199254740993,"p":0.1000000000000000055,"m":{"n":1.10},"z":-0}'

    assert dict(good(line).fields) == {
        "max": b"9007199254740993",
        "p": b"0.1000000000000000055",
        "m": b'{"n":1.10}',
        "z": b"-0",
    }


def test_a_wrong_custom_id_leaves_the_rest_to_be_checked() -> None:
    parsed = good(b'{"custom_id":"","model":"m"}')

    assert parsed.custom_id is None
    assert parsed.fields["model"] == b'"m"'
    assert [complaint.field for complaint in parsed.complaints] == ["custom_id"]


def test_many_faults_of_a_line_are_counted_and_not_all_told() -> None:
    parsed = parse(b'{"a":[' + b"NaN," * 9_999 + b"NaN]}")

    assert isinstance(parsed, list)
    assert len(parsed) == 21
    assert str(parsed[-1]) == "and 9,980 more like these"
