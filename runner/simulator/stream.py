"""The event stream of a run (api-facts 8), to its rest or to its next question."""

import asyncio
from collections.abc import Iterator, Sequence

from runner.simulator import objects
from runner.simulator.exchange import Advance, Clock, Events
from runner.simulator.journal import MessageRecord, RunRecord
from runner.simulator.objects import Object

POLL_S = 0.05  # how soon a cancel is seen
DELTA_WORDS = 3

Event = tuple[str, Object]


async def events(
    run: RunRecord,
    messages: Sequence[MessageRecord],
    clock: Clock,
    advance: Advance,
    *,
    resumed: bool,
) -> Events:
    """Yield the encoded events of a run from now on; ends with `done`.

    `resumed`: the stream of submit_tool_outputs, which begins with the answered step.
    """
    if resumed:
        yield spelt("thread.run.step.completed", objects.tool_step(run, run.turn))
        yield spelt("thread.run.queued", objects.run(run))
    else:
        made = dict(objects.run(run))
        yield spelt("thread.run.created", made)
        yield spelt("thread.run.queued", made)
    before = "queued"
    while True:
        if run.status != before or run.rested:
            for name, shown in _news(run, before, messages):
                yield spelt(name, shown)
            before = run.status
        if run.rested or run.status == "requires_action":
            break
        await wait_for_change(run, clock, advance)
    yield b"event: done\ndata: [DONE]\n\n"


async def wait_for_change(run: RunRecord, clock: Clock, advance: Advance) -> None:
    """Wait until a run may have changed."""
    await asyncio.sleep(min(max(run.due - clock(), 0.001), POLL_S))
    advance(clock())


def spelt(name: str, shown: Object) -> bytes:
    """Return one event in its wire form."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), objects.encode(shown))


def _news(run: RunRecord, before: str, messages: Sequence[MessageRecord]) -> Iterator[Event]:
    # A short run may have gone through a status between two looks: its event is told all the same.
    if before == "queued" and run.started and run.status != "in_progress":
        yield "thread.run.in_progress", {**objects.run(run), **_UNDONE}
    if run.status == "requires_action":
        step = objects.tool_step(run, run.turn)
        yield "thread.run.step.created", step
        yield "thread.run.step.in_progress", step
        yield (
            "thread.run.step.delta",
            {
                "id": step["id"],
                "object": "thread.run.step.delta",
                "delta": {"step_details": _indexed(step)},
            },
        )
    if run.rested and not objects.has_reply(run) and len(run.taken) < run.turn:
        ended = "failed" if run.status == "failed" else run.status
        yield f"thread.run.step.{ended}", objects.tool_step(run, run.turn)
    if objects.has_reply(run):
        yield from _reply(run, messages)
    yield f"thread.run.{run.status}", objects.run(run)


_UNDONE: dict[str, object] = {
    "status": "in_progress",
    "required_action": None,
    "last_error": None,
    "completed_at": None,
    "cancelled_at": None,
    "failed_at": None,
    "incomplete_details": None,
    "usage": None,
}


def _indexed(step: Object) -> Object:
    details = step["step_details"]
    if not isinstance(details, dict):
        raise TypeError(details)
    calls = [{"index": n, **call} for n, call in enumerate(details["tool_calls"])]
    return {"type": "tool_calls", "tool_calls": calls}


def _reply(run: RunRecord, messages: Sequence[MessageRecord]) -> Iterator[Event]:
    text = objects.reply_text(run, messages)
    begun = objects.reply(run, text, "in_progress")
    begun_step = objects.message_step(run, "in_progress")
    yield "thread.run.step.created", begun_step
    yield "thread.run.step.in_progress", begun_step
    yield "thread.message.created", begun
    yield "thread.message.in_progress", begun
    whole = objects.reply(run, text)
    if whole["status"] == "incomplete":
        text = text[: len(text) // 2]
    for delta in _pieces(text):
        part = {"index": 0, "type": "text", "text": {"value": delta, "annotations": []}}
        yield (
            "thread.message.delta",
            {
                "id": begun["id"],
                "object": "thread.message.delta",
                "delta": {"content": [part]},
            },
        )
    yield f"thread.message.{whole['status']}", whole
    step = objects.message_step(run)
    yield f"thread.run.step.{step['status']}", step


def _pieces(text: str) -> Iterator[str]:
    words = text.split(" ")
    for start in range(0, len(words), DELTA_WORDS):
        piece = " ".join(words[start : start + DELTA_WORDS])
        yield piece if start == 0 else f" {piece}"
