"""Drives a dialect's flow with replies as literals, and makes jobs to drive it with."""

import json
from collections.abc import Mapping
from typing import TypeVar

from runner.core.call import Call, Flow, Reply
from runner.core.model import Accepted, Complaint, Job, JobState
from runner.dialects.dialect import Dialect
from runner.dialects.splice import take_apart

T = TypeVar("T")
KEY = "run-0123456789abcdef01234567-1"


def answered(flow: Flow[T], *replies: object) -> tuple[list[Call], T]:
    """Return the calls of a flow and its value; every reply must be asked for."""
    calls: list[Call] = []
    left = list(replies)
    try:
        calls.append(next(flow))
        while True:
            calls.append(flow.send(as_reply(left.pop(0))))
    except StopIteration as end:
        assert not left, "the flow ended before all replies were asked for"
        result: T = end.value
        return calls, result


def as_reply(reply: object) -> Reply:
    if isinstance(reply, Reply):
        return reply
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    return Reply(200, {}, body)


def a_job(body: bytes, *, extra: bytes = b"", thread_id: str | None = "thread_a") -> Job:
    return Job(
        id=1,
        batch_id=1,
        custom_id="a",
        state=JobState.SUBMITTING,
        generation=1,
        attempt=1,
        token=1,
        key=KEY,
        thread_id=thread_id,
        own_thread=thread_id is None,
        lane=0,
        doubted=False,
        closed_ms=0,
        presumed=False,
        slow_close=False,
        first_intent_ms=0,
        cancel_asked=False,
        refusals=0,
        run_id=None,
        created_ms=0,
        body=body,
        extra=extra,
    )


def checked(
    dialect: Dialect, line: bytes | Mapping[str, object], *, lenient: bool = False
) -> Accepted | list[Complaint]:
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    return dialect.check(raw, take_apart(raw), lenient=lenient)


def accepted(
    dialect: Dialect, line: bytes | Mapping[str, object], *, lenient: bool = False
) -> Accepted:
    result = checked(dialect, line, lenient=lenient)
    assert isinstance(result, Accepted), [str(one) for one in result]
    return result


def complaints(
    dialect: Dialect, line: bytes | Mapping[str, object], *, lenient: bool = False
) -> dict[str, str]:
    """Return what is wrong by field."""
    result = checked(dialect, line, lenient=lenient)
    assert isinstance(result, list), result
    return {one.field: one.what for one in result}
