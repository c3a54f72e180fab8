import base64
import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.model import Accepted, BadLine, Complaint, RawFields
from runner.manifest.reader import RAW_KEPT, Remark, read
from runner.manifest.rejects import reject_line, told

WHY = (Complaint("model", "is a number, not text"), Complaint("", "is odd"))


def accept(line: bytes, fields: RawFields) -> Accepted | list[Complaint]:
    del fields
    return Accepted(None, line, b"")


def test_each_complaint_is_told_with_file_and_line() -> None:
    assert told(BadLine(17, WHY, b"{"), "sweep.jsonl") == [
        "sweep.jsonl:17: model: is a number, not text",
        "sweep.jsonl:17: is odd",
    ]


def test_a_remark_is_told_the_same_way() -> None:
    assert told(Remark(3, Complaint("stream", "is sent on")), "a.jsonl") == [
        "a.jsonl:3: stream: is sent on"
    ]


def test_no_escape_sequence_of_a_manifest_reaches_the_terminal() -> None:
    (bad,) = read(io.BytesIO(b'{"a":1} \x1b[2J\x9b\n'.replace(b"\x9b", b"\xc2\x9b")), accept)
    assert isinstance(bad, BadLine)

    (line,) = told(bad, "e\x1b[31m\udcff.jsonl")

    assert line.isprintable()
    assert line.startswith("e\\x1b[31m\\udcff.jsonl:1: ")


@settings(deadline=None)
@given(
    st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
)
def test_a_rejected_line_keeps_its_text_or_its_bytes(raw: bytes) -> None:
    kept = reject_line(BadLine(4, WHY, raw), "sweep.jsonl")

    assert kept.count(b"\n") == 1
    assert kept.endswith(b"\n")
    row = json.loads(kept)
    assert (row["file"], row["line"]) == ("sweep.jsonl", 4)
    assert row["reason"] == ["model: is a number, not text", "is odd"]
    assert ("raw" in row) != ("raw_base64" in row)
    assert (row["raw"].encode() if "raw" in row else base64.b64decode(row["raw_base64"])) == raw
    assert "raw_cut" not in row


def test_a_cut_line_says_so_and_stays_text_where_the_cut_goes_through_a_character() -> None:
    line = ("x" + "é" * RAW_KEPT).encode()

    row = json.loads(reject_line(BadLine(1, WHY, line[:RAW_KEPT]), "sweep.jsonl"))

    assert row["raw_cut"] is True
    assert row["raw"] == "x" + "é" * (RAW_KEPT // 2 - 1)


def test_mended_rejects_are_a_manifest_again() -> None:
    manifest = b'{"custom_id":"a","n":NaN}\n{"custom_id":"b"}\n{"custom_id":"c",}\n'
    bad = [each for each in read(io.BytesIO(manifest), accept) if isinstance(each, BadLine)]
    rows = [json.loads(reject_line(each, "sweep.jsonl")) for each in bad]

    mended = "\n".join(row["raw"].replace("NaN", "1").replace(",}", "}") for row in rows)

    again = list(read(io.BytesIO(mended.encode()), accept))
    assert [(type(each).__name__, each.line) for each in again] == [("JobSpec", 1), ("JobSpec", 2)]


def test_a_file_name_that_is_not_utf_8_is_kept_as_escapes() -> None:
    assert json.loads(reject_line(BadLine(1, WHY, b"{"), "caf\udce9.jsonl"))["file"] == (
        "caf\\udce9.jsonl"
    )
