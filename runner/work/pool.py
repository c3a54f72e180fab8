"""Everything that works in one process: crews, claims, heartbeats, and the end.

A fixed crew of creators sends, a crew of readers asks; neither grows with the number of jobs. What
is claimed but not sent is bounded in number, and given back when the pool ends. Runs in flight are
entries of one heap (`agenda`).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from random import Random

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from runner.core.batch import Batch
from runner.core.breaker import Trip
from runner.core.ceiling import Ceiling, Ended, Full, RunRefused, Sign, after
from runner.core.errors import LeaseLost, RunnerError
from runner.core.faults import Cause as FaultCause
from runner.core.faults import Fault
from runner.core.model import Job, JobState
from runner.core.points import Reach
from runner.core.waits import closure_of
from runner.store.claim import Want
from runner.store.leases import Enlisted
from runner.store.store import Store
from runner.work.agenda import Agenda, Step
from runner.work.bench import Bench
from runner.work.carried import Assignment, Carried, carry
from runner.work.dead_man import DeadMan
from runner.work.durable import Durable
from runner.work.lease import Lease
from runner.work.places import Places
from runner.work.policy import WorkPolicy
from runner.work.ready import LaneKey, Ready, lane_of
from runner.work.worker import make_run, take_step, take_up

PREFETCH = 200
"""As many jobs at most are claimed ahead of the creators."""
START_IN_FLIGHT = 20
"""Runs in flight to begin with; each that ends lets one more in, so it doubles in a run's length."""
READERS = 64
"""As many readers at least may ask at once, and as many as runs may be in flight."""
UPKEEP_S = 1.0
IDLE_S = 0.5
ALL_QUIET_S = 5.0
"""So seldom is looked where nothing is left to do and what comes will be told."""


class Ending(Struct, frozen=True):
    """How the pool ended: `stopped` says why it stopped before the end, "" when all is at rest."""

    stopped: str = ""
    remedy: str = ""


class Pool:
    """One process's work on some batches, until all their jobs are at rest or it is stopped.

    `feeding` tells whether jobs may still be added by this process (a manifest is being queued).
    `join` makes what is needed to work on a batch that came later; None: no other batch is taken.
    `boottime` and `wall_s` are the clocks, in seconds. Run it once, on the loop that made it.
    """

    def __init__(
        self,
        store: Store,
        assignments: Sequence[Assignment],
        policy: WorkPolicy,
        *,
        boottime: Callable[[], float],
        wall_s: Callable[[], float],
        rng: Random,
        reach: Reach,
        warn: Callable[[str], None],
        feeding: Callable[[], bool] = lambda: False,
        dead_man: DeadMan | None = None,
        join: Callable[[Batch], Assignment] | None = None,
    ) -> None:
        self.store = store
        self.assignments = {a.batch.id: a for a in assignments}
        self.policy = policy
        self._boottime = boottime
        self._wall_s = wall_s
        self._rng = rng
        self._reach = reach
        self._warn = warn
        self._feeding = feeding
        self._dead_man = dead_man
        self._join = join
        self._refused: set[int] = set()
        self._durable = Durable(store)
        self._loop = asyncio.get_running_loop()
        self._ending = Ending()
        self._over = asyncio.Event()
        self._wake = asyncio.Event()
        self._told_of_more = False
        self._draining = False
        self._lapsed = False
        self.carrying: dict[int, Carried] = {}
        self.flight = 0
        self._ceiling = Ceiling(c=float(START_IN_FLIGHT))
        self._places = Places(
            policy.concurrency,
            lambda: self.flight,
            lambda: self._set_ceiling(self._ceiling),
            self._tell_fellows,
            self._loop.time,
        )
        self.ceiling = 0
        """So many runs may be in flight; 0 without work, and while the others have all places."""
        self._run_s = 0.0
        self._ready = Ready({a.batch.id: a.batch.weight for a in assignments})
        self._lanes: dict[int, list[int]] = {}
        self._dry: dict[LaneKey, float] = {}
        self._idle: list[asyncio.Future[Carried]] = []
        self._creators = 0
        self._creating = 0
        self._readers = 0
        self._crew: TaskGroup | None = None
        self._bench: Bench | None = None
        self._worker = ""
        self._missed: set[int] = set()
        self._told: set[int] = set()
        self._told_wait_s = 0.0

    # The life of the pool

    async def run(self) -> Ending:
        """Work until every job of the batches is at rest, or until stopped; then let go of all."""
        if self.policy.stop_after_s is not None:
            self._loop.call_later(
                self.policy.stop_after_s,
                self.stop,
                f"--stop-after {self.policy.stop_after_s:g} s have passed",
            )
        self.store.listen(self._hear_from_others)
        while True:
            await self._incarnation()
            if not self._lapsed or self._draining:
                return self._ending
            # Another took over what we held: come back under a new name, never the old one.
            self._lapsed = False
            self._over.clear()

    def stop(self, why: str, remedy: str = "run the same command again to resume") -> None:
        """Drain: no new creates, those under way are answered and recorded, then end."""
        if self._draining:
            return
        self._draining = True
        self._ending = Ending(why, remedy)
        for assignment in self.assignments.values():
            assignment.creates.stop()
            assignment.reads.stop()
            assignment.tokens.stop()
        self._loop.call_later(self.policy.grace_s, self._over.set)
        self._end_when_drained()

    def poke(self) -> None:
        """Tell that there may be new jobs to claim."""
        self._wake.set()

    def halt(self, batch_id: int, trip: Trip) -> None:
        """Stop one batch for what is everybody's trouble; the others are worked on."""
        self._halt(self.assignments[batch_id], trip)

    def added(self, _jobs: int) -> None:
        """Tell, from any thread, that jobs were queued."""
        self._loop.call_soon_threadsafe(self._wake.set)

    def _hear_from_others(self) -> None:
        """Look at once for what another host says has come; called from the store's thread."""
        # The loop is closed: nobody waits for jobs any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._look_at_once)

    def _look_at_once(self) -> None:
        self._told_of_more = True
        self._dry.clear()
        self._wake.set()

    @property
    def stopping(self) -> bool:
        """Whether the pool has been told to stop."""
        return self._draining

    @property
    def fellows(self) -> int:
        """How many other workers with work share the places in flight."""
        return self._places.fellows

    def limits(self) -> str:
        """Return what holds the work back now: rate, concurrency, server, or nothing."""
        gates = [a.creates for a in self.assignments.values()]
        if any(gate.shut_for_s > 0 for gate in gates):
            return "server"
        if self.carrying and self.flight >= self.ceiling:
            return "concurrency"
        if any(a.tokens.holds_back for a in self.assignments.values()):
            return "tokens"
        if any(gate.limit for gate in gates) and self.carrying:
            return "rate"
        return ""

    async def _incarnation(self) -> None:
        enlisted = await self._enlist()
        try:
            async with anyio.create_task_group() as crew:
                self._crew = crew
                self._start()
                crew.start_soon(self._heartbeat)
                if self._dead_man is not None:
                    crew.start_soon(self._hang_up_in_time)
                crew.start_soon(self._claiming)
                await self._over.wait()
                crew.cancel_scope.cancel()
        finally:
            self._crew = None
            if self._bench is not None:
                self._bench.agenda.close()
            with anyio.CancelScope(shield=True):
                await self._retire(enlisted)

    async def _enlist(self) -> Enlisted:
        names = ",".join(a.batch.name for a in self.assignments.values())
        asked = self._boottime()
        enlisted = await self._durable.ask(
            lambda: self.store.enlist(
                batches=names,
                version=self.policy.version,
                lease_ms=int(self.policy.lease_s * 1000),
            )
        )
        self._worker = enlisted.id
        self._lease = Lease(
            enlisted.id,
            self.policy.lease_s,
            self.policy.margin_s,
            self._boottime,
            self._dead_man,
        )
        self._lease.renewed(asked)
        return enlisted

    def _start(self) -> None:
        self.carrying.clear()
        self._ready.clear()
        self._idle.clear()
        self.flight = self._creators = self._creating = self._readers = 0
        self._places.forget()
        for assignment in self.assignments.values():
            assignment.breaker.hung_up()
        self._bench = Bench(
            durable=self._durable,
            agenda=Agenda(self._more_readers),
            policy=self.policy,
            lease=self._lease,
            rng=self._rng,
            reach=self._reach,
            now=self._loop.time,
            wall_s=self._wall_s,
            ready=self._make_ready,
            gone=self._gone,
            warn=self._warn,
            halt=self._halt,
            take_flight=self._take_flight,
            leave_flight=self._leave_flight,
            flight=lambda: self.flight,
            settled=self._settled,
            ended_run=self._ended_run,
            overloaded=self._overloaded,
            run_refused=self._run_refused,
        )

    async def _retire(self, enlisted: Enlisted) -> None:
        """Hang up everything, then give back what is held."""
        await self._hang_up()
        if not self.store.trouble:
            await self._durable.ask(lambda: self.store.retire(enlisted.id))

    async def _hang_up(self) -> None:
        for sender in {id(a.sender): a.sender for a in self.assignments.values()}.values():
            await sender.hang_up()
        self._lease.hung_up()

    # Crews

    def _make_ready(self, carried: Carried) -> None:
        self._ready.add(carried)
        self._hand_over()

    def _hand_over(self) -> None:
        """Give ready jobs to idle creators while there is room in flight."""
        if self._draining:
            return
        while self._ready and self.flight < self.ceiling:
            while self._idle and self._idle[-1].done():
                self._idle.pop()
            if not self._idle:
                if self._creators < self.ceiling and self._crew is not None:
                    self._creators += 1
                    self._crew.start_soon(self._creator, self._pop_ready())
                    continue
                return
            self._idle.pop().set_result(self._pop_ready())

    def _pop_ready(self) -> Carried:
        carried = self._ready.pop()
        self._take_flight(carried)
        if len(self._ready) <= PREFETCH // 4:
            self._wake.set()
        return carried

    async def _creator(self, carried: Carried) -> None:
        while True:
            self._creating += 1
            try:
                if self._bench is not None:
                    await make_run(self._bench, carried)
            finally:
                self._creating -= 1
            if self._draining:
                self._end_when_drained()
            if self._ready and self.flight < self.ceiling and not self._draining:
                carried = self._pop_ready()
                continue
            future: asyncio.Future[Carried] = self._loop.create_future()
            self._idle.append(future)
            carried = await future

    def _more_readers(self) -> None:
        if self._readers < max(READERS, self.ceiling) and self._crew is not None:
            self._readers += 1
            self._crew.start_soon(self._reader)

    async def _reader(self) -> None:
        bench = self._bench
        if bench is None:
            return
        while True:
            step, carried = await bench.agenda.next()
            await take_step(bench, carried, step)

    def _end_when_drained(self) -> None:
        if self._creating == 0:
            self._over.set()

    # What the steps tell

    def _take_flight(self, carried: Carried) -> None:
        if not carried.in_flight:
            carried.in_flight = True
            self.flight += 1
            self._ready.flying[lane_of(carried)] += 1

    def _leave_flight(self, carried: Carried) -> None:
        if carried.in_flight:
            carried.in_flight = False
            self.flight -= 1
            self._ready.flying[lane_of(carried)] -= 1
            self._hand_over()

    def _gone(self, carried: Carried) -> None:
        self._leave_flight(carried)
        if self.carrying.get(carried.job.id) is carried:
            del self.carrying[carried.job.id]
        if not self.carrying or len(self._ready) <= PREFETCH // 4:
            self._wake.set()

    def _settled(self, carried: Carried, state: JobState) -> None:
        if state is JobState.FAILED:
            assignment = carried.assignment
            assignment.breaker.failed += 1
            # The share, and what other processes see fail, is the command's to count.
            trip = assignment.breaker.failures(assignment.breaker.failed, 0)
            if trip is not None:
                self._halt(assignment, trip)

    def _ended_run(self, carried: Carried, took_s: float) -> None:
        """Note a run that ended after `took_s`: what ends well lets more in flight."""
        del carried
        self._run_s = took_s if not self._run_s else 0.9 * self._run_s + 0.1 * took_s
        if self.ceiling < self._places.part:
            self._set_ceiling(after(self._ceiling, Ended()))

    def _overloaded(self, assignment: Assignment, fault: Fault) -> None:
        """Note a sign of overload at the server.

        Below half of the ceiling it is not our number of runs that the server speaks of.
        """
        if self.flight < self.ceiling / 2:
            return
        sign = Sign.REFUSED if fault.cause is FaultCause.CONCURRENCY else Sign.OVERLOADED
        now = self._loop.time()
        self._set_ceiling(after(self._ceiling, Full(sign, self.flight, now, self._rng.random())))
        pause = self._ceiling.closed_until - now
        if pause > 0:
            assignment.creates.shut(pause, "the server is overloaded")

    def _run_refused(self, carried: Carried, wait_s: float | None) -> None:
        """Note a run that the server failed for its own rate limit."""
        now = self._loop.time()
        self._set_ceiling(after(self._ceiling, RunRefused(carried.born_s, now)))
        carried.assignment.creates.run_failed(self._run_s, wait_s)

    def _set_ceiling(self, state: Ceiling) -> None:
        self._ceiling = state
        part = self._places.part
        before, self.ceiling = self.ceiling, state.limit(part) if part else 0
        if self.ceiling > before:
            self._hand_over()

    def _halt(self, assignment: Assignment, trip: Trip) -> None:
        if assignment.halted:
            return
        assignment.halted = trip.why
        self._warn(f"batch {assignment.batch.name}: stopped: {trip.why}; {trip.remedy}")
        batch_id = assignment.batch.id
        self.store.ask(
            lambda: self.store.set_batch(batch_id, stopped=trip.line), lambda _result: None
        )
        if all(other.halted for other in self.assignments.values()):
            self.stop(f"batch {assignment.batch.name}: {trip.why}", trip.remedy)

    # Claims, heartbeats, the end

    async def _claiming(self) -> None:
        """Keep the creators supplied, take over from the dead, and see the end."""
        upkeep_at = 0.0
        while True:
            if self._draining:
                return None
            try:
                if self._told_of_more or self._loop.time() >= upkeep_at:
                    self._told_of_more = False
                    await self._take_over()
                    await self._hear_wishes()
                    await self._see_batches()
                    await self._see_fellows()
                    self._see_long_waits()
                    upkeep_at = self._loop.time() + UPKEEP_S
                got = await self._claim()
                if got and not self._places.wanting:
                    await self._see_fellows()
            except LeaseLost:
                return self._lapse()
            if self.store.trouble:
                return self.stop(self.store.trouble)
            if got == 0 and not self.carrying and await self._all_at_rest():
                return self._over.set()
            if not got or len(self._ready) > PREFETCH // 4:
                await self._rest_a_while(got)

    async def _rest_a_while(self, got: int) -> None:
        pause = IDLE_S
        if not got:
            if not self.carrying and self.store.hears and await self._none_left():
                if self._places.wanting:
                    # Nobody looks after them in so long a pause.
                    await self._see_fellows()
                pause = ALL_QUIET_S
            due = await self._durable.ask(lambda: self.store.next_due_ms(self._batch_ids()))
            if due is not None:
                pause = min(pause, max(0.0, (due - self.store.now_ms()) / 1000))
        try:
            async with asyncio.timeout(max(pause, 0.005)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _batch_ids(self) -> list[int]:
        return [a.batch.id for a in self.assignments.values() if not a.halted]

    async def _claim(self) -> int:
        # A few without a place too: whether there is work decides whether one is asked for.
        room = min(PREFETCH, 4 * max(1, self.ceiling)) - len(self._ready)
        ids = self._batch_ids()
        if room <= 0 or not ids:
            return 0
        wants = self._wants(ids, room)
        jobs = await self._durable.ask(lambda: self.store.claim(self._worker, wants))
        self._take_up(jobs)
        self._note_dry(wants, jobs)
        return len(jobs)

    def _wants(self, ids: Sequence[int], room: int) -> list[Want]:
        """Share the room among batches by weight, and among the lanes of each evenly.

        A lane that had nothing just now is not asked again for a moment, and leaves its part to
        the others of its batch.
        """
        now = self._loop.time()
        total = sum(self.assignments[i].batch.weight for i in ids)
        wants: list[Want] = []
        for batch_id in ids:
            part = max(1, room * self.assignments[batch_id].batch.weight // total)
            lanes = self._lanes.get(batch_id, [])
            if len(lanes) < 2:
                wants.append(Want(batch_id, None, part))
                continue
            wet = [lane for lane in lanes if self._dry.get((batch_id, lane), 0.0) <= now]
            each = max(1, part // max(1, len(wet)))
            for lane in wet:
                limit = each - self._ready.waits_in(batch_id, lane)
                if limit > 0:
                    wants.append(Want(batch_id, lane, limit))
        return wants

    def _note_dry(self, wants: Sequence[Want], jobs: Sequence[Job]) -> None:
        got = Counter((job.batch_id, job.lane) for job in jobs)
        until = self._loop.time() + IDLE_S
        for want in wants:
            if want.lane is not None and got[want.batch_id, want.lane] < want.limit:
                self._dry[want.batch_id, want.lane] = until

    async def _see_batches(self) -> None:
        """See new batches and lanes, and how late other workers of a batch have found runs."""
        await self._see_new_batches()
        for batch_id in self._batch_ids():
            verb = partial(self.store.lanes, batch_id)
            self._lanes[batch_id] = await self._durable.ask(verb)
            late_ms = await self._durable.ask(partial(self.store.lateness_ms, batch_id))
            self.assignments[batch_id].hear_lateness(late_ms / 1000)

    async def _see_new_batches(self) -> None:
        if self._join is None:
            return
        for batch in await self._durable.ask(self.store.batches):
            if batch.id in self.assignments or batch.id in self._refused:
                continue
            try:
                assignment = self._join(batch)
            except RunnerError as error:
                # Another's batch that these settings do not fit (a key, a dialect): told, left.
                self._refused.add(batch.id)
                if not (await self._durable.ask(partial(self.store.left, [batch.id]))).jobs:
                    continue
                self._warn(f"batch {batch.name} is not worked on here: {error}")
                continue
            self.assignments[batch.id] = assignment
            self._ready.weigh(batch.id, batch.weight)

    async def _see_fellows(self) -> None:
        """Share the places in flight with the other workers that use the same accounts."""
        await self._places.share(wanting=bool(self.carrying))
        for assignment in self.assignments.values():
            gates = (assignment.creates, assignment.reads, assignment.tokens)
            for gate in gates:
                gate.processes = self._places.fellows + 1

    async def _tell_fellows(self, places: int, wanting: bool) -> list[int]:  # noqa: FBT001 - `Places.tell`
        verb = partial(
            self.store.fellows,
            self._worker,
            places,
            frozenset(a.account for a in self.assignments.values()),
            wanting=wanting,
        )
        return await self._durable.ask(verb)

    def _take_up(self, jobs: Sequence[Job]) -> None:
        if self._bench is None:
            return
        for job in jobs:
            carried = carry(job, self.assignments[job.batch_id])
            self.carrying[job.id] = carried
            take_up(self._bench, carried)

    async def _take_over(self) -> None:
        taken = await self._durable.ask(lambda: self.store.take_over(self._worker))
        for stopped in taken.stopped:
            if stopped.doubts and stopped.pid not in self._told:
                self._told.add(stopped.pid)
                self._warn(
                    f"worker pid {stopped.pid} is stopped and holds {stopped.doubts} jobs in "
                    "doubt: continue it or end it"
                )
        while True:
            room = 20_000 - len(self.carrying)
            ids = self._batch_ids()
            if room <= 0 or not ids:
                return
            jobs = await self._durable.ask(
                partial(self.store.claim_adrift, self._worker, ids, min(1000, room))
            )
            self._take_up(jobs)
            if len(jobs) < 1000:
                return

    async def _hear_wishes(self) -> None:
        """Cancel what a person asked to be cancelled since (rows 18 and 19)."""
        asked = await self._durable.ask(lambda: self.store.asked(self._worker))
        for job_id in asked:
            carried = self.carrying.get(job_id)
            if carried is None or carried.cancel_asked or self._bench is None:
                continue
            carried.cancel_asked = True
            if carried.state is JobState.RUNNING and not carried.cancel_sent:
                self._bench.agenda.add(carried, Step.CANCEL, 0)

    def _see_long_waits(self) -> None:
        """Tell of a gate that stays shut for long; end where waiting in a process is pointless.

        The gate is stored, so another's refusal and that of an earlier command are seen here too.
        """
        for assignment in self.assignments.values():
            wait_s = assignment.creates.shut_for_s
            closure = closure_of(wait_s)
            if not closure.long or assignment.halted:
                continue
            opens_s = self._wall_s() + closure.seconds
            opens = datetime.fromtimestamp(opens_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
            if closure.pointless:
                asked = "an absurd time" if closure.absurd else f"{wait_s / 60:.0f} min"
                why = f"the server's limit asks to wait for {asked}"
                self._halt(assignment, Trip(why, f"run the same command again after {opens}"))
            elif opens_s > self._told_wait_s + 1:
                self._told_wait_s = opens_s
                self._warn(f"the server's limit asks to wait: no create is sent before {opens}")

    async def _all_at_rest(self) -> bool:
        if self._feeding() or self.policy.forever:
            return False
        return await self._none_left()

    async def _none_left(self) -> bool:
        left = await self._durable.ask(lambda: self.store.left(self._batch_ids()))
        return left.jobs == 0

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.policy.lease_s / 3)
            asked = self._boottime()
            places = self._places.taken
            try:
                good = await self._durable.ask(partial(self.store.beat, self._worker, places))
            except LeaseLost:
                good = False
            if not good:
                return self._lapse()
            self._lease.renewed(asked)
            await self._give_back_forgotten()

    async def _hang_up_in_time(self) -> None:
        """Hang up before a lease ends that no heartbeat renews: the database is away.

        So only a process that is stopped is ended by its timer. This one lives, keeps the answers
        that it could not write yet, and sends again under its next good lease.
        """
        while True:
            left_s = self._lease.hang_up_in_s()
            if left_s > 0:
                await asyncio.sleep(left_s)
            elif self._lease.wound:
                await self._hang_up()
            else:
                await asyncio.sleep(self.policy.margin_s / 2)

    async def _give_back_forgotten(self) -> None:
        """Give back what the store says is held but nobody carries (protocol.md 8, change 7).

        Twice in a row, since a claim's answer may be on its way.
        """
        held = await self._durable.ask(lambda: self.store.held_by(self._worker))
        missing = {job_id: token for job_id, token in held if job_id not in self.carrying}
        forgotten = [(i, token) for i, token in missing.items() if i in self._missed]
        if forgotten:
            await self._durable.ask(lambda: self.store.give_back(self._worker, forgotten))
        self._missed = set(missing)

    def _lapse(self) -> None:
        self._lease.lapsed = True
        self._lapsed = True
        self._warn(
            "this worker's lease was taken over while it was stopped or cut off; it begins anew"
        )
        self._over.set()
