"""All events of the reference (openai/openai-openapi 2.3.0, AssistantStreamEvent)."""

import json

import pytest

from runner.core.model import ApiError
from runner.dialects.dialect import StreamNews, Tag
from runner.dialects.events import read_event
from runner.dialects.openai import STATUSES

TAG = Tag()


def read(name: str, data: str) -> StreamNews:
    return read_event(name, data, TAG, STATUSES)


@pytest.mark.parametrize(
    "word",
    [
        "created",
        "queued",
        "in_progress",
        "requires_action",
        "completed",
        "incomplete",
        "failed",
        "cancelling",
        "cancelled",
        "expired",
    ],
)
def test_every_event_of_a_run_tells_the_run(word: str) -> None:
    status = "queued" if word == "created" else word
    news = read(f"thread.run.{word}", json.dumps({"id": "run_a", "status": status}))
    assert news.run is not None
    assert (news.run.id, news.run.status) == ("run_a", status)
    assert not news.done


@pytest.mark.parametrize(
    "name",
    [
        "thread.created",
        *(
            f"thread.run.step.{word}"
            for word in ("created", "in_progress", "delta", "completed", "failed", "cancelled")
        ),
        "thread.run.step.expired",
        *(f"thread.message.{word}" for word in ("created", "in_progress", "completed")),
        "thread.message.incomplete",
        "thread.something.new",
        "ping",
        "message",
        "",
    ],
)
def test_other_events_tell_nothing(name: str) -> None:
    data = json.dumps({"id": "x", "status": "completed", "object": "thread.run.step"})
    assert read(name, data) == StreamNews()


def test_a_delta_tells_its_text() -> None:
    data = (
        '{"id":"msg_1","object":"thread.message.delta","delta":{"content":'
        '[{"index":0,"type":"text","text":{"value":"Hel"}},'
        '{"index":1,"type":"text","text":{"value":"lo"}},{"index":2,"type":"image_file"}]}}'
    )
    assert read("thread.message.delta", data) == StreamNews(delta="Hello")


@pytest.mark.parametrize(
    ("name", "data"), [("done", "[DONE]"), ("done", ""), ("message", "[DONE]"), ("", "[DONE]\n")]
)
def test_done_is_the_end(name: str, data: str) -> None:
    assert read(name, data) == StreamNews(done=True)


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        (
            "error",
            '{"code":"server_error","message":"m","type":"T"}',
            ApiError("server_error", "t", "m"),
        ),
        ("error", '{"error":{"code":500,"message":"m"}}', ApiError("500", "", "m")),
        ("error", '"boom"', ApiError(message="boom")),
        ("error", "boom", ApiError(message="boom")),
        ("message", '{"error":{"message":"m"}}', ApiError(message="m")),
    ],
)
def test_an_error_is_told_however_it_is_spelt(name: str, data: str, error: ApiError) -> None:
    assert read(name, data) == StreamNews(error=error)


@pytest.mark.parametrize("name", ["thread.run.completed", "thread.message.delta", "message"])
@pytest.mark.parametrize("data", ["", "{", "[]", "null", '{"delta":5}'])
def test_an_event_that_cannot_be_read_tells_nothing(name: str, data: str) -> None:
    assert read(name, data) in (StreamNews(), StreamNews(delta=""))
