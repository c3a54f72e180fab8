from collections.abc import Callable
from pathlib import Path

import pytest
from export.samples import COMPLETED, ENDS, QUEUED, outcomes
from hypothesis import given, settings
from msgspec.structs import replace

from runner.core.errors import UsageError
from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.export.lines import batch_line, raw_line
from runner.export.reading import from_results
from runner.export.row import row_line

ENDED_WELL = [(o.custom_id, o.state is JobState.SUCCEEDED) for o in ENDS]


@pytest.mark.parametrize("line", [row_line, batch_line, raw_line])
def test_each_of_our_forms_tells_what_ended_well(line: Callable[[Outcome], bytes]) -> None:
    assert list(from_results(map(line, ENDS), "r.jsonl")) == ENDED_WELL


def test_a_job_that_was_not_at_rest_did_not_end_well() -> None:
    assert list(from_results([row_line(QUEUED)], "r.jsonl")) == [("case-8", False)]


@given(outcomes)
@settings(max_examples=30)
def test_any_row_of_ours_is_read_by_its_state(outcome: Outcome) -> None:
    expected = (outcome.custom_id, outcome.state is JobState.SUCCEEDED)
    assert list(from_results([row_line(outcome)], "r.jsonl")) == [expected]


def answered(status: int, body: str) -> bytes:
    return (
        f'{{"id":"batch_req_1","custom_id":"a","response":'
        f'{{"status_code":{status},"request_id":"r","body":{body}}},"error":null}}'
    ).encode()


OTHERS = {
    "chat": (answered(200, '{"object":"chat.completion","choices":[]}'), True),
    "C53: error null, status 400": (answered(400, '{"error":{"message":"no"}}'), False),
    "refused without a word": (answered(500, "{}"), False),
    "an error beside a 200": (
        b'{"custom_id":"a","response":{"status_code":200,"body":{}},"error":{"code":"x"}}',
        False,
    ),
    "expired": (b'{"custom_id":"a","response":null,"error":{"code":"batch_expired"}}', False),
    "incomplete": (answered(200, '{"status":"incomplete"}'), False),
    "completed": (answered(200, '{"status":"completed","error":null}'), True),
    "an error in a 200": (answered(200, '{"error":{"code":"x"}}'), False),
    "an unknown word": (answered(200, '{"status":"my_word"}'), True),
    "a number as status": (answered(200, '{"status":5}'), True),
    "raw": (b'{"custom_id":"a","status":201,"body":[1]}', True),
    "raw without a body": (b'{"custom_id":"a","status":200,"body":null}', False),
    "raw and refused": (b'{"custom_id":"a","status":503,"body":{}}', False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_lines_of_others_are_read_as_they_mean(name: str) -> None:
    line, well = OTHERS[name]
    assert list(from_results([line], "out.jsonl")) == [("a", well)]


def test_a_bom_blank_lines_and_crlf_are_passed_over(tmp_path: Path) -> None:
    saved = tmp_path / "r.jsonl"
    row = row_line(COMPLETED).rstrip()
    saved.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n" + row)
    with saved.open("rb") as lines:
        assert list(from_results(lines, "r.jsonl")) == [("case-1", True)] * 2


@pytest.mark.parametrize(
    "line",
    [
        b"{nope",
        b'{"custom_id":"a"}',
        b'{"custom_id":1,"state":"succeeded"}',
        b'{"state":"succeeded"}',
        b'{"custom_id":"a","state":"done"}',
        b'{"custom_id":"a","status":"completed","body":{}}',
        b"[" * 5000,
        b"\xff",
    ],
)
def test_a_line_that_is_no_result_is_told_with_its_place(line: bytes) -> None:
    with pytest.raises(UsageError) as told:
        list(from_results([row_line(COMPLETED), line], "r.jsonl"))
    assert str(told.value).startswith("r.jsonl:2: no results line: '")
    assert "\n" not in str(told.value)


def test_a_job_that_failed_then_went_well_is_told_twice() -> None:
    failed = replace(COMPLETED, state=JobState.FAILED)
    lines = [row_line(failed), row_line(COMPLETED)]
    assert list(from_results(lines, "r.jsonl")) == [("case-1", False), ("case-1", True)]
