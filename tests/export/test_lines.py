import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from export.samples import CANCELLED, COMPLETED, ENDS, EXHAUSTED, FAILED, IN_DOUBT, QUEUED, REJECTED
from msgspec.structs import replace

from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.export.lines import batch_line, raw_line
from runner.export.write import Form, errors_path, write


def response_and_error(outcome: Outcome) -> tuple[object, object, object]:
    line = json.loads(batch_line(outcome))
    assert line["custom_id"] == outcome.custom_id
    assert line["id"].startswith("batch_req_")
    return line["response"], line["error"], line.get("run")


def test_a_completed_job_is_a_response_with_the_run_verbatim() -> None:
    assert response_and_error(COMPLETED) == (
        {"status_code": 200, "request_id": None, "body": json.loads(COMPLETED.run or b"")},
        None,
        None,
    )
    assert b'"body":{"id": "run_1", "temperature": 1.0, "big"' in batch_line(COMPLETED)


def test_a_refusal_is_a_response_with_its_status_and_error_body() -> None:
    error = {
        "message": "No such assistant",
        "type": "invalid_request_error",
        "param": None,
        "code": "bad_value",
    }
    assert response_and_error(REJECTED) == (
        {"status_code": 400, "request_id": "req_9", "body": {"error": error}},
        None,
        None,
    )


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (EXHAUSTED, "connect", "connection refused"),
        (IN_DOUBT, "in_doubt", "bad gateway"),
        (CANCELLED, "batch_cancelled", "the job was cancelled"),
        (replace(CANCELLED, state=JobState.FAILED), "cancelled", "the job ended as cancelled"),
    ],
    ids=["no answer", "in doubt, though HTTP spoke", "cancelled", "without a cause"],
)
def test_without_a_sure_answer_there_is_no_response(
    outcome: Outcome, code: str, message: str
) -> None:
    assert response_and_error(outcome) == (None, {"code": code, "message": message}, None)


def test_a_run_that_failed_is_no_response_and_keeps_its_run() -> None:
    assert response_and_error(FAILED) == (
        None,
        {"code": "server_error", "message": "Sorry, something went wrong."},
        json.loads(FAILED.run or b""),
    )


def is_success_to_a_reader_of_status_codes(line: Mapping[str, object]) -> bool:
    response = line["response"]
    return isinstance(response, dict) and response["status_code"] == 200


def is_success_to_a_reader_of_errors(line: Mapping[str, object]) -> bool:
    response = line["response"]
    return (
        line["error"] is None
        and isinstance(response, dict)
        and "error" not in (response["body"] or {})
    )


def test_each_kind_of_reader_of_the_two_files_counts_what_the_report_counts(
    tmp_path: Path,
) -> None:
    out = tmp_path / "results.jsonl"
    assert write([*ENDS, QUEUED], str(out), Form.BATCH) == len(ENDS)
    good = [json.loads(line) for line in out.read_bytes().splitlines()]
    bad = [
        json.loads(line) for line in (tmp_path / "results.errors.jsonl").read_bytes().splitlines()
    ]
    succeeded = {o.custom_id for o in ENDS if o.state is JobState.SUCCEEDED}
    assert {line["custom_id"] for line in good} == succeeded
    assert [line["custom_id"] for line in bad] == [o.custom_id for o in ENDS[1:]]
    for reads_as_success in (
        is_success_to_a_reader_of_status_codes,
        is_success_to_a_reader_of_errors,
    ):
        assert {line["custom_id"] for line in [*good, *bad] if reads_as_success(line)} == succeeded


def test_an_error_file_of_an_earlier_export_does_not_stay(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    write([REJECTED], str(out), Form.BATCH)
    write([COMPLETED], str(out), Form.BATCH)
    assert (tmp_path / "results.errors.jsonl").read_bytes() == b""
    assert out.read_bytes() == batch_line(COMPLETED)


def test_a_line_keeps_its_id_over_exports_and_changes_it_with_the_generation() -> None:
    def line_id(outcome: Outcome) -> str:
        return str(json.loads(batch_line(outcome))["id"])

    assert line_id(COMPLETED) == line_id(replace(COMPLETED, line=9))
    assert line_id(COMPLETED) != line_id(replace(COMPLETED, generation=2))


@pytest.mark.parametrize(
    ("out", "errors"),
    [
        ("r.jsonl", "r.errors.jsonl"),
        ("d.x/r", "d.x/r.errors"),
        ("a.b.jsonl", "a.b.errors.jsonl"),
    ],
)
def test_the_error_file_stands_beside_its_output_file(out: str, errors: str) -> None:
    assert errors_path(out) == errors


def test_raw_lines_are_status_and_body_beside_the_id(tmp_path: Path) -> None:
    out = tmp_path / "raw.jsonl"
    assert write([COMPLETED, QUEUED, REJECTED, CANCELLED], str(out), Form.RAW) == 3
    assert out.read_bytes() == (
        b'{"custom_id":"case-1","status":200,'
        b'"body":{"id": "run_1", "temperature": 1.0, "big": 12345678901234567890}}\n'
        b'{"custom_id":"case-3","status":400,"body":{"error":{"message":"No such assistant",'
        b'"type":"invalid_request_error","param":null,"code":"bad_value"}}}\n'
        b'{"custom_id":"case-6","status":null,"body":null}\n'
    )


def test_half_a_surrogate_pair_ends_neither_form() -> None:
    cut = replace(CANCELLED, custom_id="\ud83d")
    assert json.loads(batch_line(cut))["custom_id"] == "\\ud83d"
    assert json.loads(raw_line(cut))["custom_id"] == "\\ud83d"
