"""One incarnation after another of a worker, a step at a time: what `runner.work` does, unwaited.

Each step is one call of the real store, or one answer of the played server read by the real dialect
and judged by the real core. The decisions between are those of `work/create.py` and `doubt.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from model.played_server import InFlight, Server, Time
from store_book import write

from runner.core.batch import Batch
from runner.core.call import Answer, Call, Flow, Reply, Silence
from runner.core.errors import LeaseLost
from runner.core.faults import Fault, classify
from runner.core.model import Job, JobState, Kind, Reason, Run
from runner.core.moves import (
    Created,
    Doubt,
    Evidence,
    GiveBack,
    Held,
    Intend,
    Move,
    Note,
    Requeue,
    Settle,
)
from runner.core.retry import Again, Blocked, Halt, Look, RetryPolicy, Shut, judge
from runner.core.states import Event, step
from runner.dialects.dialect import Dialect, Tag
from runner.store.claim import Want
from runner.store.store import Store
from runner.work.lease import Lease

T = TypeVar("T")
TAG = Tag()


@dataclass(frozen=True)
class Times:
    """Milliseconds: the longest delay D, W, Z, the lease L and the margin r."""

    delay: int
    wait: int
    stale: int
    lease: int
    margin: int


@dataclass
class Carried:
    """A claimed job, and where its worker stands with it."""

    job: Job
    at: str
    state: JobState
    attempt: int
    closed_ms: int
    doubted: bool
    presumed: bool
    refusals: int
    run_id: str
    blocked_by: str = ""
    checked: bool = False
    flow: Flow[Run] | None = None
    call: Call | None = None
    sent: InFlight | None = None
    found: Run | None = None

    def held(self) -> Held:
        job = self.job
        return Held(job.id, job.batch_id, job.generation, self.attempt, self.state, job.token)


class PlayedWorker:
    """A process that works: `step` does the next thing for its one job."""

    def __init__(
        self, store: Store, batch: Batch, dialect: Dialect, server: Server, time: Time, times: Times
    ) -> None:
        self._store = store
        self._batch = batch
        self._dialect = dialect
        self._server = server
        self._time = time
        self._times = times
        self.policy = RetryPolicy(max_attempts=4)
        self.frozen = False
        self.carried: Carried | None = None
        self._begin()

    def _begin(self) -> None:
        asked = self._time.seconds()
        self.id = self._store.enlist(
            batches=self._batch.name, version="test", lease_ms=self._times.lease
        ).id
        times = self._times
        self.lease = Lease(self.id, times.lease / 1000, times.margin / 1000, self._time.seconds)
        self.lease.renewed(asked)
        self.carried = None
        self.frozen = False

    # What happens to it

    def die(self) -> None:
        """Be killed: the lock is free, the sockets are gone, nothing was said. Begin anew."""
        self._hang_up()
        self._store._locks.pop(self.id).drop()
        self._begin()

    def beat(self) -> None:
        """Renew the lease; one that was taken over hangs up, retires, and begins anew."""
        asked = self._time.seconds()
        if self._store.beat(self.id, 0):
            self.lease.renewed(asked)
            mine = self.carried.job.id if self.carried else 0
            held = self._store.held_by(self.id)
            self._store.give_back(self.id, [pair for pair in held if pair[0] != mine])
            return
        self._lapse()

    def _lapse(self) -> None:
        self._hang_up()
        self._store.retire(self.id)
        self._begin()

    def retire(self) -> None:
        """End in order."""
        self._hang_up()
        self._store.retire(self.id)

    def _hang_up(self) -> None:
        if self.carried and self.carried.sent:
            self.carried.sent.hung_up = True

    # What it does

    @property
    def sends_next(self) -> bool:
        """Whether its last check said yes and its bytes have not left yet."""
        return self.carried is not None and self.carried.at == "send"

    @property
    def waits(self) -> bool:
        """Whether it waits for the answer to a create."""
        return self.carried is not None and self.carried.at == "wait"

    def step(self) -> None:
        """Do the next thing."""
        carried = self.carried
        if carried is None:
            self.claim()
            return
        steps: dict[str, Callable[[Carried], None]] = {
            "have": self._intend,
            "check": self._check,
            "send": self._send,
            "wait": self._read_answer,
            "look": self._look,
            "adopt": self._adopt,
            "decide": self._decide,
            "blocked": self._ask_blocker,
            "follow": self._follow,
        }
        steps[carried.at](carried)

    def claim(self) -> None:
        """Take one job: first from the dead, then adrift, then a queued one."""
        if self.carried is not None:
            return
        try:
            self._store.take_over(self.id)
            jobs = self._store.claim_adrift(self.id, [self._batch.id], 1)
            if not jobs:
                jobs = self._store.claim(self.id, [Want(self._batch.id, None, 1)])
        except LeaseLost:
            self._lapse()
            return
        for job in jobs:
            at = {JobState.QUEUED: "have", JobState.SUBMITTING: "look"}.get(job.state, "follow")
            self.carried = Carried(
                job,
                at,
                job.state,
                job.attempt,
                job.closed_ms,
                job.doubted,
                job.presumed,
                job.refusals,
                job.run_id or "",
            )

    def _write(self, carried: Carried, move: Move) -> bool:
        """Record a move; who has lost the job keeps the run id that it heard, and lets go."""
        if write(self._store, move)[0]:
            return True
        run_id = carried.run_id or (carried.found.id if carried.found else "")
        if run_id:
            job = carried.job
            note = Note(job.id, job.generation, carried.attempt, Evidence("noted", run_id=run_id))
            write(self._store, note)
        self.carried = None
        return False

    def _intend(self, carried: Carried) -> None:
        if carried.state is JobState.QUEUED:
            if carried.job.id in self._store.asked(self.id):
                self._rest(carried, Event.CANCEL, Reason.CANCELLED)
                return
            if carried.doubted and not carried.checked:
                carried.at = "look"
                return
        if not self.lease.may_send():
            self._write(carried, GiveBack(carried.held()))
            self.carried = None
            return
        if self._write(carried, Intend(carried.held())):
            carried.state = step(carried.state, Event.INTEND)
            carried.attempt += 1
            carried.closed_ms = 0
            carried.checked = False
            carried.at = "check"

    def _check(self, carried: Carried) -> None:
        carried.flow = self._dialect.create(carried.job, TAG, stream=False)
        carried.call = next(carried.flow)
        if self.lease.may_send():
            carried.at = "send"
        else:
            self._refused(carried, classify(Silence(sent=False, why="guard")))

    def _send(self, carried: Carried) -> None:
        assert carried.call is not None
        carried.sent = self._server.send(carried.call, longest_ms=self._times.delay)
        carried.at = "wait"

    def _read_answer(self, carried: Carried) -> None:
        assert carried.sent is not None
        assert carried.flow is not None
        reply = carried.sent.reply
        if reply is None:
            return
        carried.sent = None
        got = self._driven(carried.flow, reply)
        if not isinstance(got, Run):
            self._refused(carried, self._fault_of(reply))
            return
        carried.run_id = got.id
        if self._write(carried, Created(carried.held(), got.id, Evidence("created"))):
            carried.state = step(carried.state, Event.CREATED)
            carried.at = "follow"

    def time_out(self) -> None:
        """Give up waiting for an answer, hard, whatever lies in the socket."""
        carried = self.carried
        assert carried is not None
        self._hang_up()
        carried.sent = None
        self._refused(carried, classify(Silence(sent=True, why="timeout")))

    def _refused(self, carried: Carried, fault: Fault) -> None:
        match judge(fault, carried.refusals, self.policy, Random(0)):
            case Shut() | Again() | Halt():
                evidence = Evidence("refused", http_status=fault.http_status)
                self._write(carried, Requeue(carried.held(), evidence))
                self.carried = None
            case Blocked(run_id):
                self._doubt(carried, counted=False, blocked_by=run_id)
            case Look():
                self._doubt(carried, counted=True)
            case verdict:
                raise AssertionError(f"the played server gives no reason for {verdict}")

    def _doubt(self, carried: Carried, *, counted: bool, blocked_by: str = "") -> None:
        move = Doubt(carried.held(), Evidence("hung_up"), counted=counted, blocked_by=blocked_by)
        if self._write(carried, move):
            carried.closed_ms = self._store.now_ms()
            carried.doubted = True
            carried.presumed = False
            carried.refusals += counted
            carried.blocked_by = blocked_by
            carried.at = "blocked" if blocked_by else "look"

    def _quiet_ms(self, carried: Carried) -> int:
        stale = self._times.stale if carried.presumed else 0
        return carried.closed_ms + self._times.wait + stale

    def _look(self, carried: Carried) -> None:
        job = carried.job
        began_ms = self._store.now_ms()
        noted = self._store.noted(job.id, job.generation)
        if noted:
            carried.found = Run(noted, "", Kind.ACTIVE, b"")
            carried.at = "adopt"
            return
        flow = self._dialect.runs_of(job.thread_id or "", job.first_intent_ms / 1000, TAG)
        runs = self._asked(flow)
        mine = [run for run in runs if run.tag == job.key]
        if mine:
            carried.found = min(mine, key=lambda run: (run.created_s, run.id))
            carried.at = "adopt"
        elif carried.state is JobState.QUEUED:
            carried.checked = True
            carried.at = "have"
        elif began_ms > self._quiet_ms(carried):
            carried.at = "decide"

    def _adopt(self, carried: Carried) -> None:
        assert carried.found is not None
        run_id = carried.found.id
        move = Created(carried.held(), run_id, Evidence("adopted"), adopted=True)
        if self._write(carried, move):
            carried.state = step(carried.state, Event.ADOPTED)
            carried.run_id = run_id
            carried.at = "follow"

    def _decide(self, carried: Carried) -> None:
        if carried.job.id in self._store.asked(self.id):
            self._rest(carried, Event.CANCEL, Reason.CANCELLED)
        elif carried.refusals >= self.policy.max_attempts:
            self._rest(carried, Event.IN_DOUBT, Reason.EXHAUSTED)
        else:
            self._intend(carried)

    def _ask_blocker(self, carried: Carried) -> None:
        thread_id = carried.job.thread_id or ""
        run = self._asked(self._dialect.read(thread_id, carried.blocked_by, TAG))
        if run.tag == carried.job.key:
            carried.found = run
            carried.at = "adopt"
        elif run.kind is not Kind.ACTIVE:
            carried.blocked_by = ""
            carried.at = "look"

    def _follow(self, carried: Carried) -> None:
        job = carried.job
        thread_id = job.thread_id or ""
        run = self._asked(self._dialect.read(thread_id, carried.run_id, TAG))
        if run.kind is Kind.ACTIVE:
            if run.status != "cancelling" and job.id in self._store.asked(self.id):
                self._asked(self._dialect.cancel(thread_id, carried.run_id, TAG))
            return
        events = {
            Kind.SUCCEEDED: Event.COMPLETED,
            Kind.CANCELLED: Event.RUN_CANCELLED,
        }
        state = step(carried.state, events[run.kind])
        self._write(carried, Settle(carried.held(), state, run.status, run_id=run.id, run=run.raw))
        self.carried = None

    def _rest(self, carried: Carried, event: Event, reason: Reason) -> None:
        state = step(carried.state, event)
        self._write(carried, Settle(carried.held(), state, reason.value))
        self.carried = None

    def _asked(self, flow: Flow[T]) -> T:
        """Drive a flow that makes nothing to its value."""
        call = next(flow)
        while True:
            try:
                call = flow.send(self._server.answer(call))
            except StopIteration as end:
                value: T = end.value
                return value

    def _driven(self, flow: Flow[Run], reply: Reply) -> Run | None:
        if reply.status != 200:
            flow.close()
            return None
        try:
            flow.send(reply)
        except StopIteration as end:
            run: Run = end.value
            return run
        raise AssertionError("a create is one call")

    def _fault_of(self, answer: Answer) -> Fault:
        assert isinstance(answer, Reply)
        return classify(
            answer, self._dialect.error_of(answer), active_run=self._dialect.active_run(answer)
        )
