"""Coming to rest: with a run's own word, or for a reason where no run is known (rows 14, 15, 17)."""

from runner.core.breaker import Trip
from runner.core.faults import Fault, is_money
from runner.core.following import STAMP_ERROR
from runner.core.model import ApiError, JobState, Kind, Reason, Run
from runner.core.moves import Settle
from runner.core.points import Point
from runner.core.retry import backoff_s
from runner.core.states import Event, step
from runner.core.waits import wait_of
from runner.http.sender import Failed
from runner.work.bench import Bench
from runner.work.carried import Carried

AGAIN_CODES = frozenset({"server_error", "rate_limit_exceeded"})
"""Ends by the server's fault, which --retry-runs makes anew; so is the status `expired`."""
LONGEST_TEXT_WAIT_S = 60.0

EVENTS = {
    Kind.SUCCEEDED: Event.COMPLETED,
    Kind.FAILED: Event.ENDED_BADLY,
    Kind.CANCELLED: Event.RUN_CANCELLED,
}


def rest(
    bench: Bench,
    carried: Carried,
    event: Event,
    reason: Reason,
    fault: Fault | None = None,
) -> None:
    """End a job for which no run is known."""
    if carried.over:
        return
    carried.over = True
    state = step(carried.state, event)
    sent = carried.state is JobState.SUBMITTING and carried.closed_ms == 0
    move = Settle(
        carried.held(),
        state,
        reason.value,
        error=fault.error if fault else None,
        http_status=fault.http_status if fault else 0,
        request_id=fault.request_id if fault else "",
        evidence=bench.evidence("refused", fault) if fault and sent else None,
        possible_double=carried.possible_double,
    )
    carried.state = state
    bench.leave_flight(carried)
    bench.settled(carried, state)
    bench.post(carried, move, then=lambda: bench.gone(carried))


async def settle(bench: Bench, carried: Carried, run: Run) -> None:
    """Bring a job to rest with its run's terminal status, and what was asked for beside it."""
    if carried.over:
        # A cancel and a poll may both be under way: the first to see the end settles.
        return
    carried.over = True
    assignment, policy = carried.assignment, bench.policy
    thread_id = carried.job.thread_id or run.thread_id
    messages = steps = b""
    text: str | None = None
    if "messages" in policy.beside:
        got = await _beside(bench, carried, thread_id, run.id, "messages")
        if got is not None:
            messages = b"[" + b",".join(got) + b"]"
            text = assignment.dialect.output_text(run.raw, got)
    else:
        text = assignment.dialect.output_text(run.raw, [])
    if "steps" in policy.beside:
        got = await _beside(bench, carried, thread_id, run.id, "steps")
        steps = b"[" + b",".join(got) + b"]" if got is not None else b""
    deltas = "".join(carried.deltas).encode() if "deltas" in policy.beside else b""
    again_s = next_run_delay_s(bench, carried, run)
    assignment.tokens.correct(carried.job, carried.tokens, carried.tokens_at_s, run.usage)
    if run.error is not None and run.error.code == "rate_limit_exceeded":
        told = wait_of({}, run.error.message, bench.wall_s())
        bench.run_refused(carried, told)
    else:
        # However the end was heard of: by a read, a stream, or the create's own answer.
        age_s, told_s = bench.now() - carried.born_s, stamped_s(run)
        bench.ended_run(carried, age_s if told_s is None else min(age_s, told_s + STAMP_ERROR))
    event, error = EVENTS[run.kind], run.error
    if carried.unanswered is not None and run.kind is Kind.CANCELLED:
        event, error = Event.ENDED_BADLY, carried.unanswered
    stopped = carried.cancel_asked or carried.cancel_sent or run.status == "cancelled"
    if run.kind is Kind.CANCELLED and not stopped:
        # LangGraph says `interrupted` of a cancel and of a graph that paused: only ours is a cancel.
        event = Event.ENDED_BADLY
    state = step(carried.state, event)
    move = Settle(
        carried.held(),
        state,
        run.status,
        run_id=run.id,
        run=run.raw,
        error=error,
        usage=run.usage,
        messages=messages,
        steps=steps,
        deltas=deltas,
        output_text=text,
        possible_double=carried.possible_double,
        again=again_s is not None,
        again_delay_ms=int((again_s or 0.0) * 1000),
    )
    carried.state = state
    bench.leave_flight(carried)
    if again_s is None:
        bench.settled(carried, state)
    if run.error is not None and is_money(run.error):
        bench.halt(
            assignment,
            Trip(f"run {run.id} failed: {run.error.message}", "raise the quota or add credit"),
        )

    def done() -> None:
        bench.reach(Point.SETTLED)
        bench.gone(carried)

    bench.post(carried, move, then=done)


def stamped_s(run: Run) -> float | None:
    """Return how long a run took by its server's own stamps, in seconds; None where it has none."""
    return max(0.0, run.ended_s - run.created_s) if run.ended_s and run.created_s else None


def next_run_delay_s(bench: Bench, carried: Carried, run: Run) -> float | None:
    """Return the delay of a deliberate next generation (--retry-runs), or None for none.

    `rate_limit_exceeded` inside a run often names its wait in prose only (api-facts.md 11, 14).
    """
    error = run.error or ApiError()
    servers_fault = run.status == "expired" or (
        run.kind is Kind.FAILED and error.code in AGAIN_CODES
    )
    if not servers_fault or carried.cancel_asked or is_money(error):
        return None
    if carried.job.generation > bench.policy.retry_runs:
        return None
    told = wait_of({}, error.message, bench.wall_s())
    if told is not None:
        return min(told, LONGEST_TEXT_WAIT_S)
    return backoff_s(carried.job.generation, bench.policy.retry, bench.rng)


async def _beside(
    bench: Bench, carried: Carried, thread_id: str, run_id: str, what: str
) -> list[bytes] | None:
    """Return what stands beside a run, or None where the server would not say after three tries."""
    assignment = carried.assignment
    for _ in range(3):
        if await assignment.reads.permit() is None:
            return None
        dialect = assignment.dialect
        flow = (
            dialect.messages(thread_id, run_id)
            if what == "messages"
            else dialect.steps(thread_id, run_id, carried.job.extra)
        )
        got = await bench.ask(assignment, flow)
        if not isinstance(got, Failed):
            return got
    bench.warn(f"job {carried.job.custom_id}: its {what} could not be read")
    return None
