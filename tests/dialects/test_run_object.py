"""What is read of a run object, also of one that a compatible server spells in its own way."""

import json
import time

import pytest

from runner.core.model import ApiError, Kind, ToolCall, Usage
from runner.dialects.dialect import Tag, UnreadableError
from runner.dialects.openai import STATUSES
from runner.dialects.run_object import read_run, seconds

TAG = Tag()
HEAD = {"id": "run_a", "status": "completed"}


def test_a_run_of_the_reference_is_read() -> None:
    """Seed 001's sample, with the status and the usage of openai/openai-openapi 2.3.0's."""
    sample = {
        "id": "run_abc123",
        "object": "thread.run",
        "created_at": 1699063290,
        "assistant_id": "asst_abc123",
        "thread_id": "thread_abc123",
        "status": "completed",
        "started_at": 1699063290,
        "expires_at": None,
        "completed_at": 1699063291,
        "last_error": None,
        "incomplete_details": None,
        "tools": [{"type": "code_interpreter"}],
        "metadata": {"runner_key": "k"},
        "usage": {"prompt_tokens": 123, "completion_tokens": 456, "total_tokens": 579},
    }
    raw = json.dumps(sample).encode()
    run = read_run(raw, TAG, STATUSES)
    assert run.raw == raw
    assert (run.id, run.kind, run.thread_id, run.tag) == (
        "run_abc123",
        Kind.SUCCEEDED,
        "thread_abc123",
        "k",
    )
    assert (run.created_s, run.ended_s, run.expires_s) == (1699063290, 1699063291, 0)
    assert run.usage == Usage(123, 456, 579)
    assert run.error is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("queued", Kind.ACTIVE),
        ("in_progress", Kind.ACTIVE),
        ("cancelling", Kind.ACTIVE),
        ("requires_action", Kind.WAITS),
        ("completed", Kind.SUCCEEDED),
        ("incomplete", Kind.FAILED),
        ("failed", Kind.FAILED),
        ("expired", Kind.FAILED),
        ("cancelled", Kind.CANCELLED),
        ("paused_by_moon", Kind.FAILED),
    ],
)
def test_every_status_has_a_meaning_and_an_unknown_one_ends_the_follow(
    status: str, kind: Kind
) -> None:
    assert read_run(json.dumps({"id": "r", "status": status}).encode(), TAG, STATUSES).kind is kind


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1710348075, 1710348075.0),
        (1710348075.25, 1710348075.25),
        (1710348075123, 1710348075.123),
        ("1710348075", 1710348075.0),
        ("2024-03-13T16:41:15Z", 1710348075.0),
        ("2024-03-13T16:41:15.500+00:00", 1710348075.5),
        ("2024-03-13T16:41:15", 1710348075.0),
        ("yesterday", 0.0),
        (None, 0.0),
        (True, 0.0),
        (-5, 0.0),
        ({"seconds": 5}, 0.0),
        (10**400, 0.0),
    ],
)
def test_a_time_is_read_from_whatever_spells_it(value: object, expected: float) -> None:
    assert seconds(value) == expected


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has no tzset")
def test_a_time_without_a_zone_is_utc_wherever_runner_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        read = seconds("2024-03-13T16:41:15")
    time.tzset()
    assert read == 1710348075.0


def test_a_run_in_flight_has_not_ended_whatever_its_times_say() -> None:
    """Seed 001's sample is queued and has completed_at set."""
    body = b'{"id":"r","status":"queued","completed_at":1699063291}'
    assert read_run(body, TAG, STATUSES).ended_s == 0


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"status": "failed", "last_error": {"code": "server_error", "message": "Sorry."}},
            ApiError("server_error", "", "Sorry."),
        ),
        ({"status": "failed", "last_error": "boom"}, ApiError(message="boom")),
        ({"status": "failed", "last_error": None}, None),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            ApiError("content_filter"),
        ),
        (
            {"status": "incomplete", "incomplete_details": "max_completion_tokens"},
            ApiError("max_completion_tokens"),
        ),
        ({"status": "incomplete", "incomplete_details": None}, None),
        ({"status": "expired"}, None),
        ({"status": "in_progress", "last_error": {"code": "x", "message": "y"}}, None),
    ],
)
def test_how_a_run_ended_is_its_error(fields: dict[str, object], error: ApiError | None) -> None:
    assert read_run(json.dumps(HEAD | fields).encode(), TAG, STATUSES).error == error


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 14,
                "prompt_token_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(9, 5, 14, 4, 3),
        ),
        (
            {
                "input_tokens": 9,
                "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(9, 5, 14, 4, 3),
        ),
        ({"prompt_tokens": None, "completion_tokens": "5", "total_tokens": 7.0}, Usage(0, 0, 7)),
        (None, None),
        ({}, None),
        (17, None),
    ],
)
def test_usage_is_read_in_both_spellings(usage: object, expected: Usage | None) -> None:
    body = json.dumps(HEAD | {"usage": usage}).encode()
    assert read_run(body, TAG, STATUSES).usage == expected


def test_the_calls_that_a_run_waits_for_are_read() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    odd = {"id": "call_2", "function": {"name": "g", "arguments": {"a": 1}}}
    action = {"submit_tool_outputs": {"tool_calls": [call, odd, {"id": None}, "x"]}}
    waits = {"id": "r", "status": "requires_action", "required_action": action}
    expected = (ToolCall("call_1", "f", "{}"), ToolCall("call_2", "g", '{"a": 1}'))
    assert read_run(json.dumps(waits).encode(), TAG, STATUSES).calls == expected
    gone = waits | {"status": "completed"}
    assert read_run(json.dumps(gone).encode(), TAG, STATUSES).calls == ()


@pytest.mark.parametrize("metadata", [None, [], "x", {"runner_key": 5}, {"other": "k"}])
def test_metadata_without_our_tag_is_no_trouble(metadata: object) -> None:
    assert read_run(json.dumps(HEAD | {"metadata": metadata}).encode(), TAG, STATUSES).tag == ""


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        (
            b'{\n  "id": "r",\r\n  "status": "completed"\n}\n',
            b'{   "id": "r",    "status": "completed" }',
        ),
        (
            b'\xef\xbb\xbf{"id":"r","status":"completed"}',
            b'{"id":"r","status":"completed"}',
        ),
        (
            b'{"id":"r","status":"completed","x":[NaN,-Infinity,"NaN \\" Infinity"]}',
            b'{"id":"r","status":"completed","x":[null,null,"NaN \\" Infinity"]}',
        ),
        (
            b'{"id":"r","status":"completed","x":"\\ud800"}',
            b'{"id":"r","status":"completed","x":"\\ud800"}',
        ),
        (
            b'{"id":"r","status":"completed","x":12345678901234567890123,"y":1.10,"z":1e999}',
            b'{"id":"r","status":"completed","x":12345678901234567890123,"y":1.10,"z":1e999}',
        ),
        (
            b'{"id":"r","status":"completed","x":"\xff"}',
            '{"id":"r","status":"completed","x":"\ufffd"}'.encode(),
        ),
    ],
    ids=["pretty", "byte order mark", "constants", "lone surrogate", "numbers", "not UTF-8"],
)
def test_the_run_is_kept_as_it_came_on_one_line(body: bytes, raw: bytes) -> None:
    run = read_run(body, TAG, STATUSES)
    assert run.raw == raw
    assert run.id == "r"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b'{"id":"r"}',
        b'{"status":"queued"}',
        b'{"id":"","status":"queued"}',
        b'{"id":null,"status":"queued"}',
        b'{"id":"r","status":3,"x":NaN}',
        b'{"id":"r","status":"queued"',
        b'{"id":"r","status":"queued","x":' + b"[" * 100_000,
        b'{"id":"r","status":"queued","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=range(12),
)
def test_what_holds_no_run_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_run(body, TAG, STATUSES)
