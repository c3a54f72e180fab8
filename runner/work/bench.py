"""What every step of the work shares: the store, the agenda, the lease, the clocks, and the way out.

Made once an incarnation by the pool. A step takes a carried job from where it stands to its next
wait or rest; it ends by putting the job back on the agenda, among the ready, or by letting it go.
"""

from collections.abc import Callable
from random import Random
from typing import TypeVar

from msgspec import Struct

from runner.core.breaker import Trip
from runner.core.call import Answer, Flow, Reply, Silence
from runner.core.faults import Cause, Fault, classify
from runner.core.model import JobState
from runner.core.moves import Evidence, GiveBack, Move, Note
from runner.core.points import Reach
from runner.core.waits import wait_of
from runner.dialects.dialect import UnreadableError
from runner.http.sender import Failed, Guard, drive
from runner.work.agenda import Agenda, Step
from runner.work.carried import Assignment, Carried
from runner.work.durable import Durable
from runner.work.lease import Lease
from runner.work.policy import WorkPolicy

T = TypeVar("T")


class Bench(Struct):
    """The place of work of one incarnation. `now` is the event loop's clock, `wall_s` unix time."""

    durable: Durable
    agenda: Agenda
    policy: WorkPolicy
    lease: Lease
    rng: Random
    reach: Reach
    now: Callable[[], float]
    wall_s: Callable[[], float]
    ready: Callable[[Carried], None]
    gone: Callable[[Carried], None]
    warn: Callable[[str], None]
    halt: Callable[[Assignment, Trip], None]
    take_flight: Callable[[Carried], None]
    leave_flight: Callable[[Carried], None]
    flight: Callable[[], int]
    settled: Callable[[Carried, JobState], None]
    ended_run: Callable[[Carried, float], None]
    overloaded: Callable[[Assignment, Fault], None]
    run_refused: Callable[[Carried, float | None], None]
    stale: int = 0

    async def ask(
        self,
        assignment: Assignment,
        flow: Flow[T],
        *,
        guard: Guard | None = None,
        heard: Callable[[Answer], None] | None = None,
    ) -> T | Failed:
        """Drive a dialect's flow with this bench's time-out."""
        return await drive(
            assignment.sender,
            flow,
            timeout_s=self.policy.timeout_s,
            guard=guard,
            unreadable=UnreadableError,
            heard=heard,
        )

    def fault_of(self, assignment: Assignment, failed: Failed) -> Fault:
        """Return what a failed flow's last answer means in the assignment's dialect."""
        answer = failed.answer
        if isinstance(answer, Silence):
            return classify(answer)
        if failed.unreadable:
            return classify(answer, unreadable=failed.unreadable)
        error = assignment.dialect.error_of(answer)
        return classify(
            answer,
            error,
            active_run=assignment.dialect.active_run(answer),
            wait_s=self.wait_of(answer, error.message),
        )

    def wait_of(self, reply: Reply, text: str) -> float | None:
        """Return how long a refusal asks to wait, in seconds, or None."""
        if reply.status in (429, 503, 529):
            return wait_of(reply.headers, text, self.wall_s())
        return None

    def post(self, carried: Carried, move: Move, *, then: Callable[[], None] | None = None) -> None:
        """Record a move without waiting; a lost lease lets go of the job, never of an answer."""

        def done(won: bool) -> None:  # noqa: FBT001 - the store's callback has one meaning
            if won:
                if then is not None:
                    then()
            else:
                self.lost(carried)

        self.durable.post(move, done)

    def lost(self, carried: Carried) -> None:
        """Let go of a job that another worker holds now; a run id that we heard stays as evidence."""
        if carried.run_id and not carried.lost:
            carried.lost = True
            note = Note(
                carried.job.id,
                carried.job.generation,
                carried.attempt,
                Evidence("noted", run_id=carried.run_id),
            )
            self.durable.post(note, _ignore)
        carried.lost = True
        self.gone(carried)

    def read_in(self, carried: Carried, delay_s: float) -> None:
        """Put down the next look at a run that was just heard of."""
        carried.due_s = self.now() - carried.born_s + delay_s
        self.agenda.add(carried, Step.READ, delay_s)

    def give_back(self, carried: Carried) -> None:
        """Let go of a job for whoever comes next; its state stays."""
        self.durable.post(GiveBack(carried.held()), _ignore)
        self.gone(carried)

    def evidence(self, why: str, fault: Fault) -> Evidence:
        """Return the evidence that a fault leaves."""
        return Evidence(
            why,
            http_status=fault.http_status,
            request_id=fault.request_id,
            error=fault.error,
            detail=fault.detail,
        )

    def note_limits(self, assignment: Assignment, fault: Fault) -> None:
        """Pass on a fault that speaks of the server's load."""
        if fault.cause in (Cause.OVERLOADED, Cause.CONCURRENCY):
            self.overloaded(assignment, fault)


def _ignore(_won: bool) -> None:  # noqa: FBT001 - the store's callback has one meaning
    return
