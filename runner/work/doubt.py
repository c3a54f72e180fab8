"""Looking for the run of a doubtful create, and what a look decides: rows 9 to 12.

Not found proves nothing yet: only a whole look that *began* after the quiet time shows that a new
send is safe. A waiting job holds no place in flight.
"""

from msgspec.structs import replace

from runner.core.call import Reply
from runner.core.faults import Cause, Fault
from runner.core.keys import part_of
from runner.core.model import ApiError, JobState, Kind, Reason, Run
from runner.core.moves import Created, Evidence
from runner.core.points import Point
from runner.core.retry import backoff_s
from runner.core.states import Event, step
from runner.http.sender import Failed
from runner.work.agenda import Step
from runner.work.bench import Bench
from runner.work.carried import Carried
from runner.work.ending import rest
from runner.work.policy import OnDoubt

UNREADABLE_LOOKS = 8
"""Looks in a row that were answered and could not be read, after which no more is asked."""

BLOCKED_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Pauses between questions to another's run that holds the thread; the last one repeats."""


async def look(bench: Bench, carried: Carried) -> None:
    """List the thread's runs; adopt ours, or decide what its absence means."""
    assignment = carried.assignment
    began_ms = bench.durable.store.now_ms()
    noted = await noted_run(bench, carried)
    if noted:
        return adopt(bench, carried, Run(noted, "", Kind.ACTIVE, b""), began_ms, ())
    if not can_see(carried):
        return unseen(bench, carried, began_ms)
    slot = await assignment.reads.permit()
    if slot is None:
        return bench.give_back(carried)
    began_ms = bench.durable.store.now_ms()
    since_s = carried.job.first_intent_ms / 1000 + assignment.skew_s
    thread_id = carried.job.thread_id or ""
    bench.reach(Point.LOOK_BEFORE_SEND)
    runs = await bench.ask(
        assignment, assignment.dialect.runs_of(thread_id, since_s, assignment.tag)
    )
    bench.reach(Point.LOOK_AFTER_ANSWER)
    if isinstance(runs, Failed):
        answer = runs.answer
        if not (isinstance(answer, Reply) and answer.status == 404 and assignment.listed):
            return look_failed(bench, carried, bench.fault_of(assignment, runs), began_ms)
        # Lists are answered here, so this thread is gone: nothing is on it, nothing can be made.
        runs = []
    assignment.listed = True
    carried.trouble = carried.unreadable = 0
    mine = await ours(bench, carried, runs)
    if mine:
        return adopt(bench, carried, mine[0], began_ms, tuple(run.id for run in mine[1:]))
    carried.missed = True
    if others_active(carried, runs):
        return bench.agenda.add(carried, Step.LOOK, _pause(carried))
    return absent(bench, carried, began_ms)


def can_see(carried: Carried) -> bool:
    """Whether a look can tell this job's run from others'."""
    proofs, tag = carried.assignment.proofs, carried.assignment.tag
    return proofs.lists and ((proofs.tags and bool(tag.name)) or carried.job.own_thread)


async def noted_run(bench: Bench, carried: Carried) -> str:
    """Return a run id that a late answer left as evidence, or "" (row 16)."""
    if carried.wait_noted:
        return ""
    carried.wait_noted = True
    job, store = carried.job, bench.durable.store
    return await bench.durable.ask(lambda: store.noted(job.id, job.generation))


async def ours(bench: Bench, carried: Carried, runs: list[Run]) -> list[Run]:
    """Return the runs that this generation made, oldest first.

    After a retry of a job in doubt a run of an earlier generation that no row knows is ours too.
    """
    job, assignment = carried.job, carried.assignment
    if assignment.proofs.tags and assignment.tag.name:
        mine = [run for run in runs if run.tag == job.key]
        family = [
            run for run in runs if run.tag != job.key and part_of(run.tag) == part_of(job.key)
        ]
        if not mine and job.own_thread and not assignment.tag_seen:
            # Nothing has shown yet that the tag comes back, and the thread is this job's alone.
            family += [run for run in runs if run.lost_its_tag]
    else:
        mine, family = [], list(runs)
    if family:
        store = bench.durable.store
        known = await bench.durable.ask(lambda: store.known_runs(job.id))
        mine += [run for run in family if run.id not in known]
    return sorted(mine, key=lambda run: (run.created_s, run.id))


def others_active(carried: Carried, runs: list[Run]) -> bool:
    """Whether another's run holds the thread of a job that was refused for it."""
    if carried.blocked_by or not carried.assignment.proofs.locks:
        return False
    return carried.busy and any(run.kind in (Kind.ACTIVE, Kind.WAITS) for run in runs)


def adopt(
    bench: Bench, carried: Carried, run: Run, began_ms: int, doubles: tuple[str, ...]
) -> None:
    """Take a found run as the job's own; further ones are told as doubles."""
    job, assignment = carried.job, carried.assignment
    # Late is what an earlier look had missed. Found at once, it may have been there all along: the
    # hours that nobody looked, between two commands, say nothing of the server.
    known_late = carried.closed_ms and carried.missed
    late_ms = max(0, began_ms - carried.closed_ms) if known_late else 0
    if late_ms / 1000 > assignment.lateness_s:
        store, batch_id = bench.durable.store, assignment.batch.id
        store.ask(lambda: store.hear_lateness(batch_id, late_ms), lambda _result: None)
    if assignment.hear_lateness(late_ms / 1000):
        bench.warn(
            f"batch {assignment.batch.name}: a run was found {late_ms / 1000:.1f} s after its create "
            f"was cut; the doubt wait is now {assignment.wait_s:.0f} s"
        )
    evidence = Evidence("adopted", run_id=run.id, lateness_ms=late_ms)
    move = Created(carried.held(), run.id, evidence, adopted=True, doubles=doubles)
    if doubles:
        bench.warn(
            f"job {job.custom_id}: {len(doubles) + 1} runs carry its key; {run.id} is the oldest "
            f"and kept, {', '.join(doubles)} told as doubles"
        )
    carried.state = step(carried.state, Event.ADOPTED)
    carried.run_id = run.id
    carried.born_s = (
        bench.now() - max(0.0, bench.wall_s() + assignment.skew_s - run.created_s)
        if run.created_s
        else bench.now()
    )
    assignment.breaker.created(carried.number)
    bench.take_flight(carried)
    bench.post(carried, move, then=lambda: bench.reach(Point.CREATED_RECORDED))
    bench.agenda.add(carried, Step.READ, 0)


def absent(bench: Bench, carried: Carried, began_ms: int) -> None:
    """Decide what a whole look that found nothing means (row 11)."""
    if carried.assignment.proofs.at_end:
        # The run may be there and still going: the list shows it later.
        return unseen(bench, carried, began_ms)
    if carried.state is JobState.QUEUED:
        return absent_before_a_send(bench, carried, began_ms)
    quiet = quiet_ms(bench, carried)
    if began_ms <= quiet:
        return bench.agenda.add(carried, Step.LOOK, next_look_s(bench, carried, quiet))
    if carried.cancel_asked:
        return rest(bench, carried, Event.CANCEL, Reason.CANCELLED)
    if bench.policy.on_doubt is OnDoubt.HOLD:
        return rest(bench, carried, Event.IN_DOUBT, Reason.IN_DOUBT)
    if carried.refusals >= bench.policy.retry.max_attempts:
        return rest(bench, carried, Event.IN_DOUBT, Reason.EXHAUSTED)
    carried.checked = True
    return bench.ready(carried)


def absent_before_a_send(bench: Bench, carried: Carried, began_ms: int) -> None:
    """Let a queued job go on for which a look found nothing.

    Where a person wants its end, an attempt that was in doubt before may still arrive: the end
    waits for the quiet time, counted anew from the first look, since when it closed is not kept.
    """
    if carried.cancel_asked and carried.doubted:
        carried.closed_ms = carried.closed_ms or began_ms
        quiet = quiet_ms(bench, carried)
        if began_ms <= quiet:
            return bench.agenda.add(carried, Step.LOOK, next_look_s(bench, carried, quiet))
    carried.checked = True
    return bench.ready(carried)


def unseen(bench: Bench, carried: Carried, began_ms: int) -> None:
    """Decide for a job whose run no look can show (protocol.md 3)."""
    assignment, policy = carried.assignment, bench.policy
    if carried.state is JobState.QUEUED:
        return absent_before_a_send(bench, carried, began_ms)
    tries_left = carried.refusals < policy.retry.max_attempts
    if assignment.proofs.keys and tries_left and not carried.cancel_asked:
        # The key is honoured: a repeat returns the original run, so no wait is needed.
        carried.checked = True
        return bench.ready(carried)
    quiet = quiet_ms(bench, carried)
    if began_ms <= quiet:
        carried.wait_noted = False
        return bench.agenda.add(carried, Step.LOOK, next_look_s(bench, carried, quiet))
    if assignment.resend and tries_left and not carried.cancel_asked:
        carried.possible_double = True
        carried.checked = True
        return bench.ready(carried)
    return rest(bench, carried, Event.IN_DOUBT, Reason.IN_DOUBT)


def quiet_ms(bench: Bench, carried: Carried) -> int:
    """Return when nothing of the closed attempt can arrive any more, on the store's clock.

    W from the close, not from the intent; at least the time-out after a stall; Z more where the
    sender is only presumed dead (protocol.md 4).
    """
    policy = bench.policy
    wait_s = carried.assignment.wait_s
    if carried.slow:
        wait_s = max(wait_s, policy.timeout_s)
    if carried.presumed:
        wait_s += policy.stale_wait_s
    return carried.closed_ms + int(wait_s * 1000)


def next_look_s(bench: Bench, carried: Carried, quiet: int) -> float:
    """Return the pause before the next look: early ones, then one just after the quiet time."""
    now_ms = bench.durable.store.now_ms()
    for after_s in bench.policy.quick_look_s[1:]:
        due_ms = carried.closed_ms + int(after_s * 1000)
        if now_ms < due_ms < quiet:
            return (due_ms - now_ms) / 1000
    # The last look must begin after the quiet time, strictly.
    return max(0.0, (quiet + 2 - now_ms) / 1000)


def look_failed(bench: Bench, carried: Carried, fault: Fault, began_ms: int) -> None:
    """Look again after a look that was not answered whole: it is no look."""
    assignment = carried.assignment
    carried.trouble += 1
    if fault.wait_s is not None and fault.http_status == 429:
        assignment.reads.refused(None, fault.wait_s, {})
    trip = (
        assignment.breaker.refused(fault, bench.now()) if fault.http_status in (401, 403) else None
    )
    if trip is not None:
        bench.halt(assignment, trip)
        return bench.give_back(carried)
    unreadable = fault.cause is Cause.UNREADABLE
    carried.unreadable = carried.unreadable + 1 if unreadable else 0
    quiet = quiet_ms(bench, carried)
    unasked = fault.http_status == 404 and carried.trouble > 2
    if began_ms > quiet and (unasked or carried.unreadable >= UNREADABLE_LOOKS):
        # No list was ever answered here, or none that tells: nothing is sent again.
        if unreadable:
            fault = replace(fault, error=ApiError(message=fault.detail))
        return rest(bench, carried, Event.IN_DOUBT, Reason.IN_DOUBT, fault)
    pause = backoff_s(min(carried.trouble, 5), bench.policy.retry, bench.rng)
    if unreadable and assignment.proofs.at_end:
        # It is well and says what it can: no need to spare it.
        pause = min(pause, 0.05 * 2 ** min(carried.unreadable, 4))
    return bench.agenda.add(carried, Step.LOOK, pause)


async def blocked(bench: Bench, carried: Carried) -> None:
    """Ask after the run that holds the thread: ours is adopted, another's is waited for (row 12)."""
    assignment = carried.assignment
    slot = await assignment.reads.permit()
    if slot is None:
        return bench.give_back(carried)
    began_ms = bench.durable.store.now_ms()
    thread_id = carried.job.thread_id or ""
    run = await bench.ask(
        assignment, assignment.dialect.read(thread_id, carried.blocked_by, assignment.tag)
    )
    if isinstance(run, Failed):
        carried.blocked_by = ""
        return bench.agenda.add(carried, Step.LOOK, 0)
    if run.tag and run.tag == carried.job.key:
        return adopt(bench, carried, run, began_ms, ())
    if run.kind in (Kind.ACTIVE, Kind.WAITS):
        return bench.agenda.add(carried, Step.BLOCKED, _pause(carried))
    carried.blocked_by = ""
    carried.trouble = 0
    return bench.agenda.add(carried, Step.LOOK, 0)


def _pause(carried: Carried) -> float:
    pause = BLOCKED_S[min(carried.trouble, len(BLOCKED_S) - 1)]
    carried.trouble += 1
    return pause
