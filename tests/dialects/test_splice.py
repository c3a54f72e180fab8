"""Nothing that a user wrote is written anew."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.dialects.openai import segment
from runner.dialects.splice import elements, put_together, streamed, tagged, take_apart, with_pair

SCALAR = st.sampled_from(
    [
        b"1.10",
        b"-0",
        b"9007199254740993",
        b"0.1000000000000000055",
        b"1E400",
        b'"\\u00e9\\/"',
        '"\u2028é"'.encode(),
        b'"\\ud800"',
        b'"}],:{["',
        b"null",
        b"true",
    ]
)
BLANK = st.sampled_from([b"", b" ", b"\t", b"  "])


def array(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    parts = st.lists(st.tuples(BLANK, values, BLANK).map(b"".join), max_size=3)
    return parts.map(lambda inside: b"[" + b",".join(inside) + b"]")


def member(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    name = st.sampled_from([b'"a"', b'"b\\n"', b'"metadata"', '"ü"'.encode()])
    return st.tuples(name, BLANK, st.just(b":"), BLANK, values, BLANK).map(b"".join)


def obj(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(member(values), max_size=3).map(lambda inside: b"{" + b",".join(inside) + b"}")


VALUE = st.recursive(SCALAR, lambda values: array(values) | obj(values), max_leaves=8)
FIELDS = st.dictionaries(st.text(max_size=8), VALUE, max_size=6)


@given(FIELDS)
def test_an_object_comes_apart_as_it_was_put_together(fields: dict[str, bytes]) -> None:
    apart = take_apart(put_together(fields))
    assert apart == fields
    assert list(apart) == list(fields)


@given(FIELDS, BLANK, BLANK)
def test_blanks_between_the_fields_are_no_part_of_them(
    fields: dict[str, bytes], before: bytes, after: bytes
) -> None:
    inside = b",".join(
        before + json.dumps(name).encode() + after + b":" + before + value + after
        for name, value in fields.items()
    )
    assert take_apart(before + b"{" + after + inside + b"}" + before) == fields


@given(st.lists(VALUE, max_size=5), BLANK)
def test_an_array_comes_apart_into_what_was_written(values: list[bytes], blank: bytes) -> None:
    whole = b"[" + b",".join(blank + value + blank for value in values) + b"]"
    assert elements(whole) == values


PAIRS = st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=15)


@given(PAIRS, st.text(min_size=1, max_size=64), st.text(max_size=64), BLANK)
def test_a_tag_adds_its_pair_and_keeps_every_byte_before_it(
    pairs: dict[str, str], name: str, value: str, blank: bytes
) -> None:
    pairs.pop(name, None)
    written = json.dumps(pairs, ensure_ascii=False).encode("utf-8", "surrogatepass")
    result = with_pair(blank + written + blank, name, value)
    assert result.startswith(written[:-1])
    assert json.loads(result) == {**pairs, name: value}


@given(FIELDS, st.text(max_size=20))
def test_tagging_leaves_every_other_field_alone(fields: dict[str, bytes], value: str) -> None:
    fields = {**fields, "metadata": b'{"k" : "v" }'}
    result = tagged(fields, "runner_key", value)
    assert list(result) == list(fields)
    assert {name: kept for name, kept in result.items() if name != "metadata"} == {
        name: kept for name, kept in fields.items() if name != "metadata"
    }
    assert put_together(result) == put_together(tagged(fields, "runner_key", value))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, b'{"t":"v"}'),
        (b"null", b'{"t":"v"}'),
        (b"{}", b'{"t":"v"}'),
        (b"{ }", b'{"t":"v"}'),
        (b'{ "a" : "}" }', b'{ "a" : "}","t":"v"}'),
    ],
)
def test_a_tag_finds_its_place_in_any_map(metadata: bytes | None, expected: bytes) -> None:
    assert with_pair(metadata, "t", "v") == expected


def test_a_tag_needs_a_map() -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        with_pair(b"[]", "t", "v")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a"}', b'{"a":"\\ud800"', b'"\\ud800"'])
def test_what_is_no_object_does_not_come_apart(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's and json's own texts
        take_apart(body)


def test_runner_decides_whether_to_stream() -> None:
    fields = {"stream": b"true", "x": b"true"}
    assert streamed(fields, stream=False) == {"stream": b"false", "x": b"true"}
    assert streamed({"x": b"1"}, stream=True) == {"x": b"1", "stream": b"true"}
    assert streamed({"stream": b"null", "x": b"1"}, stream=True) == {"stream": b"true", "x": b"1"}
    assert streamed({"x": b"1"}, stream=False) == {"x": b"1"}


def unquoted(text: str) -> str:
    parts = text.split("%")
    raw = parts[0].encode() + b"".join(
        bytes([int(part[:2], 16)]) + part[2:].encode() for part in parts[1:]
    )
    return raw.decode()


@given(
    st.text(st.characters(codec="utf-8"), min_size=1) | st.sampled_from([".", "..", "...", "%2e"])
)
def test_any_thread_id_is_one_segment_and_comes_back(thread_id: str) -> None:
    path = segment(thread_id)
    assert unquoted(path) == thread_id
    assert path not in (".", "..")
    assert path.isascii()
    assert not set(path) & set("/?#\\ ;")
