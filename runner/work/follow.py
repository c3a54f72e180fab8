"""Following a run to its terminal status by reading it: rows 13 to 15 and 19.

Nothing is ever created from here. The first question comes when such runs usually end, then by
what is still likely (`core.following`).
"""

from runner.core.call import Answer, Reply
from runner.core.faults import Cause, Fault
from runner.core.following import is_late
from runner.core.model import Kind, Reason, Run
from runner.core.points import Point
from runner.core.retry import backoff_s
from runner.core.states import Event
from runner.http.sender import Failed
from runner.work.acting import act
from runner.work.agenda import Step
from runner.work.bench import Bench
from runner.work.carried import Carried
from runner.work.ending import rest, settle, stamped_s
from runner.work.pace import Pace

LOST_AFTER_S = 30.0
"""A 404 on a known run is believed only so long after its creation, and repeated (row 15)."""
LOST_REPEATS = 3


def pace_of(bench: Bench, carried: Carried) -> Pace:
    """Return the pace of the job's lane."""
    paces = carried.assignment.pace
    pace = paces.get(carried.job.lane)
    if pace is None:
        pace = paces[carried.job.lane] = Pace(bench.policy.polls_a_run, bench.rng)
    return pace


async def read(bench: Bench, carried: Carried) -> None:
    """Ask for the run's status once and act on it."""
    assignment = carried.assignment
    if carried.cancel_asked and not carried.cancel_sent:
        return await cancel(bench, carried)
    slot = await assignment.reads.permit()
    if slot is None:
        return bench.give_back(carried)
    last: list[Answer] = []
    late = is_late(carried.due_s, bench.now() - carried.born_s)
    flow = assignment.dialect.read(carried.job.thread_id or "", carried.run_id, assignment.tag)
    got = await bench.ask(assignment, flow, heard=last.append)
    bench.reach(Point.READ_AFTER_ANSWER)
    age_s = bench.now() - carried.born_s
    carried.polls += 1
    if isinstance(got, Failed):
        return read_failed(bench, carried, bench.fault_of(assignment, got), last[-1], age_s)
    carried.trouble = carried.missing = 0
    assignment.breaker.answered()
    if isinstance(last[-1], Reply):
        assignment.reads.answered(slot, last[-1].headers)
    if got.kind is Kind.ACTIVE:
        return still_active(bench, carried, got, age_s)
    if got.kind is Kind.WAITS:
        carried.alive_s = age_s
        return await act(bench, carried, got)
    pace_of(bench, carried).ended(age_s, carried.alive_s, stamped_s(got), late=late)
    return await settle(bench, carried, got)


async def take_status(bench: Bench, carried: Carried, run: Run, *, age_s: float) -> None:
    """Act on a run whose object has just come by another way than a read."""
    if run.kind is Kind.ACTIVE:
        delay = pace_of(bench, carried).first_age() - age_s
        return bench.read_in(carried, max(delay, run.poll_after_ms / 1000, 0.0))
    if run.kind is Kind.WAITS:
        return await act(bench, carried, run)
    return await settle(bench, carried, run)


def still_active(bench: Bench, carried: Carried, run: Run, age_s: float) -> None:
    """Put down the next question, or a cancel where the run is past its deadline."""
    policy = bench.policy
    pace = pace_of(bench, carried)
    carried.alive_s = age_s
    pace.alive(age_s)
    overdue = policy.deadline_s is not None and age_s >= policy.deadline_s
    stuck = run.expires_s == 0 and age_s >= policy.stuck_s
    if (overdue or stuck) and not carried.cancel_sent:
        limit = policy.deadline_s if overdue else policy.stuck_s
        bench.warn(f"job {carried.job.custom_id}: run {run.id} is past {limit:g} s; cancelled")
        return bench.agenda.add(carried, Step.CANCEL, 0)
    due = pace.next_age(age_s)
    if policy.deadline_s is not None and not carried.cancel_sent:
        due = min(due, max(policy.deadline_s, age_s + 0.02))
    if carried.cancel_sent:
        due = min(due, age_s + 1.0)
    # The server's wish is a lower bound (openai-poll-after-ms), up to a minute.
    delay = max(due - age_s, min(run.poll_after_ms / 1000, 60.0), 0.0)
    return bench.read_in(carried, delay)


def read_failed(bench: Bench, carried: Carried, fault: Fault, answer: Answer, age_s: float) -> None:
    """Ask again after a read that was no answer; a 404 is believed late and repeated."""
    assignment = carried.assignment
    carried.trouble += 1
    if fault.cause is Cause.RATE or fault.cause is Cause.CONCURRENCY:
        headers = answer.headers if isinstance(answer, Reply) else {}
        assignment.reads.refused(None, fault.wait_s, headers)
        return bench.agenda.add(carried, Step.READ, 0.05)
    if fault.cause in (Cause.KEY, Cause.RIGHT):
        trip = assignment.breaker.refused(fault, bench.now())
        if trip is not None:
            bench.halt(assignment, trip)
            return bench.give_back(carried)
    if fault.cause is Cause.MISSING:
        carried.missing += 1
        if age_s > LOST_AFTER_S and carried.missing >= LOST_REPEATS:
            return rest(bench, carried, Event.LOST, Reason.RUN_LOST, fault)
    if fault.cause is Cause.UNSENT:
        trip = assignment.breaker.refused(fault, bench.now())
        if trip is not None:
            bench.halt(assignment, trip)
    pause = backoff_s(min(carried.trouble, 5), bench.policy.retry, bench.rng)
    return bench.agenda.add(carried, Step.READ, min(pause, 0.2 * 2**carried.trouble))


async def cancel(bench: Bench, carried: Carried) -> None:
    """Ask the API to end the run, then follow it to a terminal status; completed wins (row 19)."""
    assignment = carried.assignment
    carried.cancel_sent = True
    flow = assignment.dialect.cancel(carried.job.thread_id or "", carried.run_id, assignment.tag)
    got = await bench.ask(assignment, flow)
    bench.reach(Point.CANCEL_AFTER_ANSWER)
    if isinstance(got, Failed):
        fault = bench.fault_of(assignment, got)
        if fault.cause in (Cause.SILENCE, Cause.UNSENT, Cause.SERVER, Cause.OVERLOADED, Cause.RATE):
            # Addressed by the run's id: harmless twice.
            carried.cancel_sent = False
            carried.trouble += 1
            pause = backoff_s(min(carried.trouble, 5), bench.policy.retry, bench.rng)
            return bench.agenda.add(carried, Step.CANCEL, fault.wait_s or pause)
    return bench.read_in(carried, 0)
