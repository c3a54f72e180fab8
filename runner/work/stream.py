"""Creating a run whose events tell its life, and falling back to reading when they stop.

The run's id is in the first event and recorded before the stream is read on. A dropped stream says
nothing about the run: it is read from then on, and never created again. Dropped before the first
event it is doubt like any other.
"""

from contextlib import aclosing

from runner.core.call import Call, Reply, Silence
from runner.core.faults import classify
from runner.core.model import Kind, Run
from runner.core.points import Point
from runner.http.sender import Failed, StreamEvent
from runner.work.acting import act
from runner.work.bench import Bench
from runner.work.carried import Carried
from runner.work.create import created, refused
from runner.work.ending import settle
from runner.work.gate import Slot

IDLE_S = 300.0
"""A stream that says nothing for so long is left for reads; servers send a comment or event sooner."""


async def send_streaming(bench: Bench, carried: Carried, slot: Slot) -> None:
    """Send a streaming create once and follow its events to the run's end."""
    assignment = carried.assignment
    flow = assignment.dialect.create(carried.job, assignment.tag, stream=True)
    call: Call = next(flow)
    flow.close()
    bench.reach(Point.CREATE_BEFORE_SEND)
    newest: Run | None = None
    ending: Reply | Silence | None = None
    events = assignment.sender.events(
        call, timeout_s=bench.policy.timeout_s, idle_s=IDLE_S, guard=bench.lease.may_send
    )
    async with aclosing(events) as heard:  # type: ignore[type-var] # senders' events are generators
        async for event in heard:
            if not isinstance(event, StreamEvent):
                ending = event
                break
            newest, over = _hear(bench, carried, slot, event, newest)
            if over:
                break
    if newest is None:
        return await _nothing_heard(bench, carried, slot, call, ending)
    return await _after(bench, carried, newest)


def _hear(
    bench: Bench, carried: Carried, slot: Slot, event: StreamEvent, newest: Run | None
) -> tuple[Run | None, bool]:
    """Take one event in; return the newest run and whether the stream has said its last."""
    assignment = carried.assignment
    news = assignment.dialect.event(event.name, event.data, assignment.tag)
    if news.delta and "deltas" in bench.policy.beside:
        carried.deltas.append(news.delta)
    if news.run is not None:
        if newest is None:
            bench.reach(Point.CREATE_AFTER_ANSWER)
            created(bench, carried, slot, news.run, Reply(200))
        newest = news.run
    over = news.done or (newest is not None and newest.kind is not Kind.ACTIVE)
    return newest, over


async def _nothing_heard(
    bench: Bench, carried: Carried, slot: Slot, call: Call, ending: Reply | Silence | None
) -> None:
    """Treat a stream without a run as the answer it was: a refusal, or doubt."""
    assignment = carried.assignment
    answer = ending or Silence(sent=True, why="closed", detail="the stream ended without a run")
    bench.reach(Point.CREATE_AFTER_ANSWER)
    if isinstance(answer, Reply) and 200 <= answer.status < 300:
        # A server that does not stream answers with the run object itself.
        got = _plain(carried, answer)
        if isinstance(got, Run):
            created(bench, carried, slot, got, answer)
            return await _after(bench, carried, got)
        return await refused(
            bench, carried, slot, classify(answer, unreadable="no run in the answer"), answer
        )
    fault = bench.fault_of(assignment, Failed(call, answer))
    return await refused(bench, carried, slot, fault, answer)


def _plain(carried: Carried, answer: Reply) -> Run | None:
    assignment = carried.assignment
    news = assignment.dialect.event(
        "thread.run.created", answer.body.decode(errors="replace"), assignment.tag
    )
    return news.run


async def _after(bench: Bench, carried: Carried, run: Run) -> None:
    """Act on the newest run that a stream told, or read on where it told no end."""
    if run.kind is Kind.ACTIVE:
        return bench.read_in(carried, 0.0)
    if run.kind is Kind.WAITS:
        return await act(bench, carried, run)
    return await settle(bench, carried, run)
