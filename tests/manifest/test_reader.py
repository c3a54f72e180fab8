import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.model import Accepted, BadLine, Complaint, JobSpec, RawFields
from runner.manifest.reader import Remark, read

MIB = 1024 * 1024
OBJECTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    max_size=4,
)
GOOD = OBJECTS.map(
    lambda content: json.dumps({**content, "custom_id": "x"}, ensure_ascii=False).encode()
)
BAD = st.sampled_from([b"[1]", b"{", b'{"a":NaN}', b'{"a":1,"a":1}', b"\xff", b'{"custom_id":1}'])
BLANK = st.sampled_from([b"", b" ", b"\t", b"\r"])


def accept(line: bytes, fields: RawFields) -> Accepted | list[Complaint]:
    """Take every line; the thread is its own, the lane its model."""
    thread_id = fields.get("thread_id", b"").decode() or None
    return Accepted(thread_id, line, b"", fields.get("model", b"").decode())


def refuse(line: bytes, fields: RawFields) -> Accepted | list[Complaint]:
    del line
    return [Complaint(name, "is not wanted") for name in fields if name != "custom_id"]


def warn(line: bytes, fields: RawFields) -> Accepted | list[Complaint]:
    del fields
    warnings = (Complaint("a", "is old"), Complaint("b", "is odd"))
    return Accepted(None, line, b"", warnings=warnings)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("gb "), GOOD, BAD, BLANK), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_each_line_that_is_not_blank_gives_one_spec_or_one_bad_line_with_its_number(
    kinds: list[tuple[str, bytes, bytes, bytes]],
    ending: bytes,
    mark: bool,  # hypothesis hands them over by position
    last: bool,
) -> None:
    chosen = [(kind, {"g": good, "b": bad, " ": blank}[kind]) for kind, good, bad, blank in kinds]
    manifest = ending.join(line for _, line in chosen) + (ending if last else b"")

    found = list(read(io.BytesIO((b"\xef\xbb\xbf" if mark else b"") + manifest), accept))

    seen = [(each.line, each.body if isinstance(each, JobSpec) else each) for each in found]
    assert [number for number, _ in seen] == [
        number for number, (kind, _) in enumerate(chosen, 1) if kind != " "
    ]
    for number, body in seen:
        kind, line = chosen[number - 1]
        if kind == "g":
            assert body == line.strip()
        else:
            assert isinstance(body, BadLine)
            assert body.raw == line
            assert body.complaints


def test_a_spec_holds_what_the_dialect_made_of_the_line() -> None:
    line = b'{"custom_id":"a","thread_id":7,"model":3}'

    (spec,) = read(io.BytesIO(line), accept)

    assert isinstance(spec, JobSpec)
    assert (spec.line, spec.custom_id, spec.thread_id, spec.lane) == (1, "a", "7", "3")
    assert (spec.body, len(spec.digest)) == (line, 16)


def test_the_complaints_of_custom_id_and_of_the_dialect_come_together() -> None:
    (bad,) = read(io.BytesIO(b'{"custom_id":"","modle":"m","x":1}\n'), refuse)

    assert isinstance(bad, BadLine)
    assert [complaint.field for complaint in bad.complaints] == ["custom_id", "modle", "x"]


def test_a_wrong_custom_id_alone_is_enough_for_a_bad_line() -> None:
    (bad,) = read(io.BytesIO(b'{"custom_id":""}\n'), accept)

    assert isinstance(bad, BadLine)
    assert [complaint.field for complaint in bad.complaints] == ["custom_id"]


def test_remarks_come_before_their_spec() -> None:
    found = list(read(io.BytesIO(b"\n{}\n"), warn))

    assert found[:2] == [Remark(2, Complaint("a", "is old")), Remark(2, Complaint("b", "is odd"))]
    assert isinstance(found[2], JobSpec)
    assert len(found) == 3


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""], ids=["lf", "crlf", "none"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "mark"])
@pytest.mark.parametrize("over", [0, 1, 2, 3, 4, 5, 200_000])
def test_a_line_over_the_limit_is_told_and_its_neighbours_are_read(
    ending: bytes, mark: bytes, over: int
) -> None:
    long = b'{"a":"' + b"x" * (30 - 8 + over) + b'"}'
    around = mark + long + ending + (b'{"b":1}\n' if ending else b"")

    found = list(read(io.BytesIO(around), accept, longest=30))

    first = found[0]
    if over:
        assert isinstance(first, BadLine)
        assert str(first.complaints[0]) == f"is {30 + over:,} bytes long; 30 is the most"
        assert long.startswith(first.raw)
    else:
        assert isinstance(first, JobSpec)
        assert first.body == long
    assert [each.line for each in found] == ([1, 2] if ending else [1])


def test_carriage_returns_at_the_limit_do_not_split_a_line() -> None:
    found = list(read(io.BytesIO(b'{"a":12}' + b"\r" * 20 + b"\n{}\n"), accept, longest=8))

    assert [type(each) for each in found] == [BadLine, JobSpec]
    assert [each.line for each in found] == [1, 2]


class Endless(io.RawIOBase):
    """A manifest of three lines, the second of 50 MB, that is never whole in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.left = [b'{"custom_id":"a"}\n{"a":"', *[b"x" * MIB] * 50, b'"}\n{"custom_id":"b"}\n']

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        if not self.left:
            return 0
        piece = self.left[0][: len(buffer)]
        self.left[0] = self.left[0][len(piece) :]
        if not self.left[0]:
            self.left.pop(0)
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_line_of_fifty_megabytes_is_passed_over_without_being_held() -> None:
    tracemalloc.start()
    try:
        found = list(read(io.BufferedReader(Endless()), accept, longest=MIB))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [type(each) for each in found] == [JobSpec, BadLine, JobSpec]
    assert isinstance(found[1], BadLine)
    assert str(found[1].complaints[0]) == "is 52,428,808 bytes long; 1,048,576 is the most"
    assert len(found[1].raw) == MIB
    assert peak < 20 * MIB


def test_the_raw_text_of_a_bad_line_is_cut() -> None:
    (bad,) = read(io.BytesIO(b'{"a":"' + b"x" * 2 * MIB), accept)

    assert isinstance(bad, BadLine)
    assert len(bad.raw) == MIB
