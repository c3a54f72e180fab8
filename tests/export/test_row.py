import json
from datetime import UTC, datetime, timedelta

import pytest
from export.samples import COMPLETED, QUEUED, REJECTED, outcomes
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.model import Usage
from runner.core.outcome import Outcome
from runner.export.row import iso, row_line


def test_a_completed_row_is_these_bytes() -> None:
    assert row_line(COMPLETED) == (
        b'{"batch":"nightly","custom_id":"case-1","line":1,"state":"succeeded",'
        b'"status":"completed","thread_id":"thread_1","run_id":"run_1",'
        b'"run":{"id": "run_1", "temperature": 1.0, "big": 12345678901234567890},'
        b'"earlier_runs":[],"error":null,"attempts":1,"generation":1,'
        b'"idempotency_key":"run-00112233445566778899aabb-1",'
        b'"queued_at":"2026-03-01T02:04:05.006Z","created_at":"2026-03-01T02:04:06.000Z",'
        b'"ended_at":"2026-03-01T02:04:10.999Z",'
        b'"usage":{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200,'
        b'"cached_tokens":900,"reasoning_tokens":50},"doubles":[],"possible_double":false}\n'
    )


def test_a_rejected_row_tells_the_refusal() -> None:
    assert row_line(REJECTED) == (
        b'{"batch":"nightly","custom_id":"case-3","line":3,"state":"failed","status":"rejected",'
        b'"thread_id":null,"run_id":null,"run":null,"earlier_runs":[],'
        b'"error":{"type":"invalid_request_error","code":"bad_value",'
        b'"message":"No such assistant","http_status":400,"request_id":"req_9"},'
        b'"attempts":1,"generation":1,"idempotency_key":"","queued_at":null,"created_at":null,'
        b'"ended_at":null,"usage":null,"doubles":[],"possible_double":false}\n'
    )


def test_what_was_fetched_stands_between_the_runs_and_the_error() -> None:
    row = row_line(
        replace(
            COMPLETED,
            earlier_runs=(b'{"id":"run_0"}', b"{}"),
            messages=b'[{"a":1.10}]',
            output_text='say "hi"\n',
            steps=b"[]",
            deltas=b"[2]",
        )
    )
    assert (
        b',"earlier_runs":[{"id":"run_0"},{}],"messages":[{"a":1.10}],'
        b'"output_text":"say \\"hi\\"\\n","steps":[],"deltas":[2],"error":null,'
    ) in row


def test_a_pretty_printed_run_becomes_one_line_and_nothing_else_changes() -> None:
    run = b'{\r\n  "id": "run_1",\n  "text": "a\\nb \xe2\x80\xa8 c"\n}'
    row = row_line(replace(COMPLETED, run=run, messages=b"[\n]"))
    assert row.count(b"\n") == 1
    assert b'"run":{    "id": "run_1",   "text": "a\\nb \xe2\x80\xa8 c" },' in row


def test_half_a_surrogate_pair_is_spelt_out_and_ends_no_export() -> None:
    row = json.loads(row_line(replace(REJECTED, output_text="cut \ud83d", doubles=("\udc00",))))
    assert (row["output_text"], row["doubles"]) == ("cut \\ud83d", ["\\udc00"])


@given(outcomes)
@settings(max_examples=50)
def test_any_row_reads_back_with_its_json_verbatim(outcome: Outcome) -> None:
    line = row_line(outcome)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    row = json.loads(line)
    assert (row["custom_id"], row["line"], row["state"]) == (
        outcome.custom_id,
        outcome.line,
        outcome.state.value,
    )
    assert row.get("output_text") == outcome.output_text
    assert row["doubles"] == list(outcome.doubles)
    for raw in (outcome.run, outcome.messages, outcome.steps, *outcome.earlier_runs):
        if raw is not None:
            assert raw.replace(b"\n", b" ") in line
    expected = None if outcome.error is None else outcome.error.message
    assert (row["error"] or {"message": None})["message"] == expected


@given(st.integers(1, 253_402_300_799_999))
def test_a_time_reads_back_to_the_millisecond(ms: int) -> None:
    text = iso(ms)
    assert text is not None
    assert text.endswith("Z")
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    assert since == timedelta(milliseconds=ms)


@pytest.mark.parametrize("ms", [-1, 0, 253_402_300_800_000, 10**30])
def test_a_time_that_no_calendar_holds_is_null(ms: int) -> None:
    assert iso(ms) is None


def test_a_job_that_has_not_begun_has_a_row_too() -> None:
    row = json.loads(row_line(replace(QUEUED, usage=Usage())))
    assert (row["state"], row["status"], row["run"]) == ("queued", None, None)
    assert row["usage"]["total_tokens"] == 0
