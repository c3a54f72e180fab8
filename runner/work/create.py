"""From queued to a recorded run, or to a rest, a refusal or a doubt: rows 2 to 8 of the protocol."""

from msgspec.structs import replace

from runner.core.call import Answer, Reply
from runner.core.faults import Cause, Fault
from runner.core.model import JobState, Reason, Run
from runner.core.moves import (
    Created,
    Doubt,
    Evidence,
    Intend,
    Postpone,
    Requeue,
    Threaded,
)
from runner.core.points import Point
from runner.core.retry import Again, Blocked, GiveUp, Halt, Look, Shut, backoff_s, judge
from runner.core.states import Event, step
from runner.http.sender import Failed
from runner.work.agenda import Step
from runner.work.bench import Bench
from runner.work.carried import Assignment, Carried
from runner.work.ending import rest
from runner.work.follow import take_status
from runner.work.gate import Slot

FRESH_S = 30.0
"""Within this time of making a thread a 404 may be the server's replicas lagging (api-facts 11)."""


async def intend(bench: Bench, carried: Carried) -> Slot | None:
    """Take a job that may be sent to a durable intent; None where it went elsewhere instead.

    The job is queued, or submitting with a whole look behind it that began after its quiet time.
    The permit is taken before the intent, never between intent and send: the intent must be young.
    """
    assignment = carried.assignment
    if assignment.is_halted():
        bench.give_back(carried)
        return None
    if carried.state is JobState.QUEUED and carried.cancel_asked:
        if carried.doubted and not carried.checked:
            bench.leave_flight(carried)
            bench.agenda.add(carried, Step.LOOK, 0)
            return None
        rest(bench, carried, Event.CANCEL, Reason.CANCELLED)
        return None
    if assignment.dialect.makes_thread(carried.job) and not await make_thread(bench, carried):
        return None
    if must_look_first(carried):
        bench.leave_flight(carried)
        bench.agenda.add(carried, Step.LOOK, 0)
        return None
    carried.tokens = assignment.tokens.estimate(carried.job)
    reserved_at_s = await assignment.tokens.permit(carried.tokens)
    carried.tokens_at_s = reserved_at_s or 0.0
    slot = await assignment.creates.permit() if reserved_at_s is not None else None
    bench.reach(Point.PERMIT_TAKEN)
    # No intent under a lease that does not allow its send: it would end as doubt.
    if slot is None or assignment.is_halted() or not bench.lease.may_send():
        bench.give_back(carried)
        return None
    if not await bench.durable.write(Intend(carried.held())):
        bench.lost(carried)
        return None
    bench.reach(Point.INTENT_DURABLE)
    carried.state = step(carried.state, Event.INTEND)
    carried.attempt += 1
    carried.closed_ms = 0
    carried.checked = False
    carried.wait_noted = False
    bench.take_flight(carried)
    if is_stale(bench, assignment, slot):
        late = Fault(Cause.UNSENT, made=False, detail="the permit had gone stale")
        requeue(bench, carried, late, delay_s=0.0, counted=False)
        return None
    # Who waits for a slot has a place in flight and no run at the server.
    carried.abreast = bench.flight() - assignment.creates.waiting
    carried.number = assignment.breaker.send()
    return slot


STALE_SHARE = 0.02
STALE_LEAST_S = 0.25
STALE_MOST_S = 1.0
STALE_IN_ROW = 50


def stale_after_s(window_s: float | None) -> float:
    """Return how long after its slot a create would stand in a later slot's way.

    The limit would then be passed: a fiftieth of its window, within bounds.
    """
    return min(STALE_MOST_S, max(STALE_LEAST_S, STALE_SHARE * (window_s or 0.0)))


def is_stale(bench: Bench, assignment: Assignment, slot: Slot) -> bool:
    """Whether the intent took so long to become durable that its permit must be given up.

    A database that another program held does so for once; one that is always as slow would never
    send again, so after a row of them they go all the same.
    """
    limited = assignment.creates.limit is not None or assignment.creates.row.source is not None
    if not limited or bench.now() - slot.at_s < stale_after_s(assignment.creates.row.win):
        bench.stale = 0
        return False
    bench.stale += 1
    return bench.stale <= STALE_IN_ROW


def must_look_first(carried: Carried) -> bool:
    """Whether a look must come before this send (rows 2 and 6; a suspect store)."""
    if carried.checked or carried.state is not JobState.QUEUED:
        return False
    return carried.doubted or carried.assignment.batch.look_first


async def send(bench: Bench, carried: Carried, slot: Slot) -> None:
    """Send the create once and record what its answer means."""
    assignment = carried.assignment
    last: list[Answer] = []
    flow = assignment.dialect.create(carried.job, assignment.tag, stream=False)
    bench.reach(Point.CREATE_BEFORE_SEND)
    got = await bench.ask(assignment, flow, guard=bench.lease.may_send, heard=last.append)
    bench.reach(Point.CREATE_AFTER_ANSWER)
    if isinstance(got, Failed):
        return await refused(bench, carried, slot, bench.fault_of(assignment, got), last[-1])
    created(bench, carried, slot, got, last[-1])
    # The run may already be at its end: some servers answer so, and a plain request always is.
    return await take_status(bench, carried, got, age_s=0.0)


def created(bench: Bench, carried: Carried, slot: Slot, run: Run, answer: Answer) -> None:
    """Record a run's id: durable before anything that is heard of the run is acted on.

    The store writes moves in the order of a job's life, so what is posted later for this job can
    not become durable before this.
    """
    assignment = carried.assignment
    request_id = ""
    if isinstance(answer, Reply):
        request_id = answer.request_id
        assignment.creates.answered(slot, answer.headers)
        assignment.tokens.answered(answer.headers)
        assignment.meet(slot, carried.abreast, admitted=True)
        assignment.hear_clock(answer.headers, bench.wall_s())
    if assignment.hear_tag(run):
        forget_tags(bench, assignment)
    assignment.breaker.created(carried.number)
    carried.run_id = run.id
    carried.born_s = bench.now()
    carried.alive_s = 0.0
    move = Created(
        carried.held(), run.id, Evidence("created", http_status=200, request_id=request_id)
    )
    carried.state = step(carried.state, Event.CREATED)
    bench.post(carried, move, then=lambda: bench.reach(Point.CREATED_RECORDED))


def forget_tags(bench: Bench, assignment: Assignment) -> None:
    """Keep, for whoever works on this server next, that it drops the tag; and tell it."""
    store, batch = bench.durable.store, assignment.batch
    proofs = assignment.proofs
    store.ask(lambda: store.set_proofs(batch.base_url, proofs), lambda _result: None)
    bench.warn(
        f"batch {batch.name}: the server does not give the metadata {assignment.tag.name} back: a "
        "create whose answer is lost is found again only on a thread made for its job alone"
    )


async def refused(bench: Bench, carried: Carried, slot: Slot, fault: Fault, answer: Answer) -> None:
    """Record what a create that failed means, and put the job where it belongs."""
    assignment, policy = carried.assignment, bench.policy
    bench.note_limits(assignment, fault)
    fresh = bench.now() - carried.thread_made_s < FRESH_S
    verdict = judge(fault, carried.refusals, policy.retry, bench.rng, fresh=fresh)
    trip = assignment.breaker.refused(fault, bench.now(), carried.number, fresh=fresh)
    if trip is not None:
        bench.halt(assignment, trip)
    match verdict:
        case Shut(wait_s, tokens=True):
            assignment.tokens.refused(carried.job, wait_s, fault.error.message)
            requeue(bench, carried, fault, delay_s=0.0, counted=False)
        case Shut(wait_s, concurrency):
            headers = answer.headers if isinstance(answer, Reply) else {}
            if not concurrency and assignment.meet(slot, carried.abreast, admitted=False):
                concurrency = True
                bench.overloaded(assignment, replace(fault, cause=Cause.CONCURRENCY))
            assignment.creates.refused(slot, wait_s, headers, concurrency=concurrency)
            requeue(bench, carried, fault, delay_s=0.0, counted=False)
        case Again(delay_s, counted):
            if counted and carried.refusals + 1 >= policy.retry.max_attempts:
                return rest(bench, carried, Event.REJECTED, Reason.EXHAUSTED, fault)
            requeue(bench, carried, fault, delay_s=delay_s, counted=counted)
        case GiveUp(reason):
            return rest(bench, carried, Event.REJECTED, reason, fault)
        case Halt():
            requeue(bench, carried, fault, delay_s=0.0, counted=False)
        case Blocked(run_id):
            await doubt(bench, carried, fault, slow=False, counted=False, blocked_by=run_id)
        case Look(slow):
            await doubt(bench, carried, fault, slow=slow, counted=True)
    return None


def requeue(bench: Bench, carried: Carried, fault: Fault, *, delay_s: float, counted: bool) -> None:
    """Put a job back whose attempt surely made nothing (rows 5 and 7)."""
    why = "unsent" if fault.cause is Cause.UNSENT else "refused"
    move = Requeue(
        carried.held(), bench.evidence(why, fault), delay_ms=int(delay_s * 1000), counted=counted
    )
    carried.state = step(carried.state, Event.REFUSED)
    bench.leave_flight(carried)
    # Let go only once the move is durable: a claim that came sooner would not see the job.
    bench.post(carried, move, then=lambda: bench.gone(carried))


async def doubt(
    bench: Bench, carried: Carried, fault: Fault, *, slow: bool, counted: bool, blocked_by: str = ""
) -> None:
    """Record that a create's outcome is unknown, then look (row 8).

    The sender has hung up hard before it returned, so nothing of this attempt can leave any more.
    """
    move = Doubt(
        carried.held(),
        bench.evidence("hung_up", fault),
        slow=slow,
        counted=counted,
        blocked_by=blocked_by,
    )
    bench.leave_flight(carried)
    if not await bench.durable.write(move):
        return bench.lost(carried)
    carried.closed_ms = bench.durable.store.now_ms()
    carried.doubted = True
    carried.slow = slow
    carried.presumed = False
    carried.refusals += counted
    carried.trouble = 0
    carried.busy = fault.cause is Cause.BUSY
    carried.blocked_by = blocked_by
    return bench.agenda.add(carried, Step.BLOCKED if blocked_by else Step.LOOK, 0)


async def make_thread(bench: Bench, carried: Carried) -> bool:
    """Make the job's thread, and record the id of its own before anything is sent into it.

    A lost answer leaves an empty thread behind, which costs nothing, so this may be repeated.
    """
    assignment = carried.assignment
    got = await bench.ask(assignment, assignment.dialect.make_thread(carried.job, assignment.tag))
    if isinstance(got, Failed):
        thread_refused(bench, carried, got)
        return False
    carried.thread_made_s = bench.now()
    if carried.job.thread_id is not None:
        # The manifest named it, to be made where it was missing: no thread of this job alone.
        return True
    if not await bench.durable.write(Threaded(carried.held(), got)):
        bench.lost(carried)
        return False
    carried.job = replace(carried.job, thread_id=got, own_thread=True)
    return True


def thread_refused(bench: Bench, carried: Carried, failed: Failed) -> None:
    """Put back, or end, a job whose thread could not be made: nothing of it has been sent."""
    assignment: Assignment = carried.assignment
    fault = bench.fault_of(assignment, failed)
    trip = assignment.breaker.refused(fault, bench.now())
    if trip is not None:
        bench.halt(assignment, trip)
    if fault.cause in (Cause.REJECTED, Cause.MISSING):
        return rest(bench, carried, Event.REJECTED, Reason.REJECTED, fault)
    carried.trouble += 1
    delay_s = fault.wait_s or backoff_s(carried.trouble, bench.policy.retry, bench.rng)
    move = Postpone(carried.held(), int(delay_s * 1000))
    return bench.post(carried, move, then=lambda: bench.gone(carried))
