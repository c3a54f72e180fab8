"""The real store, core and dialect against a played server and network, in any order of events.

What `test_exhaustive.py` shows of the model, this shows of the code that the model is about.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model.played_server import InFlight, Made, Server, Time
from model.played_worker import PlayedWorker, Times
from store_book import counted, line, queue, rows, tallied

from runner.core.keys import idempotency_key
from runner.core.model import JobState
from runner.dialects.named import named
from runner.store.store import Store
from runner.store.tables import METADATA

TICK = 1000
TIMES = Times(delay=TICK, wait=3 * TICK, stale=TICK, lease=2 * TICK, margin=TICK)
LAG = TICK
STATUSES = {"succeeded": "completed", "cancelled": "cancelled"}
STAGES = ["wait", "wait", "wait", "check", "send", "look", "adopt", "decide", "follow", "rest"]
who = st.integers(0, 1)
which = st.integers(0, 7)


class World:
    """What all examples share, since tables take half a second to make: a store and its clock."""

    def __init__(self) -> None:
        self.time = Time()
        self.store = Store.open(":memory:", clock=self.time)

    def empty(self) -> None:
        """Forget all, so that an example behaves the same whatever came before it."""
        for worker_id in list(self.store._locks):
            self.store.retire(worker_id)
        # Who was killed left a lock's file behind, which a taking-over removes.
        last = self.store.enlist(batches="", version="test").id
        self.store.take_over(last)
        self.store.retire(last)
        for table in reversed(METADATA.sorted_tables):
            rows(self.store, f"DELETE FROM {table.name} RETURNING 1")
        self.time.now_ms = Time().now_ms


class Machine(RuleBasedStateMachine):
    """Two workers, five jobs on two threads."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.time, self.store = self.world.time, self.world.store
        self.world.empty()
        self.workers: list[PlayedWorker] = []
        self.harm = 0

    @initialize(locks=st.booleans(), dead_man=st.booleans())
    def begin(self, locks: bool, dead_man: bool) -> None:
        """Queue the jobs. Without a dead-man timer nobody stops between check and send."""
        self.dead_man = dead_man
        self.batch = self.store.begin(
            "nightly",
            dialect="openai",
            base_url="http://127.0.0.1:9/v1",
            options={},
            weight=1,
            tag="runner_key",
            made_ms=1,
        )
        threads = ("thread_a", "thread_a", "thread_a", "thread_b", "thread_b")
        specs = [line(n, thread=thread) for n, thread in enumerate(threads, 1)]
        queue(self.store, self.batch, specs)
        self.jobs = [spec.custom_id or "" for spec in specs]
        self.server = Server(self.time, lag_ms=LAG, locks=locks)
        dialect = named("openai")
        self.workers = [
            PlayedWorker(self.store, self.batch, dialect, self.server, self.time, TIMES)
            for _ in range(2)
        ]

    # Workers

    @rule(who=who, stage=st.sampled_from(STAGES))
    def work(self, who: int, stage: str) -> None:
        """Let a worker go on until it stands where the next event is of interest."""
        worker = self.workers[who]
        for _ in range(0 if worker.frozen else 8):
            worker.step()
            if worker.carried is not None and worker.carried.at == stage:
                return

    @precondition(lambda self: any(worker.waits for worker in self.workers))
    @rule(who=who)
    def time_out(self, who: int) -> None:
        for worker in (self.workers[who], self.workers[1 - who]):
            if worker.waits and not worker.frozen:
                worker.time_out()
                return

    @rule(who=who)
    def doubt(self, who: int) -> None:
        """Send and give up waiting, whatever came of it."""
        self.work(who, "wait")
        self.time_out(who)

    @precondition(lambda self: self.harm < 5)
    @rule(who=who)
    def kill(self, who: int) -> None:
        if self.workers[who].carried is not None:
            self.harm += 1
            self.workers[who].die()

    @precondition(lambda self: self.harm < 5)
    @rule(who=who)
    def freeze(self, who: int) -> None:
        if self.workers[who].carried is not None:
            self.harm += 1
            self.workers[who].frozen = True

    @precondition(lambda self: any(worker.frozen for worker in self.workers))
    @rule()
    def wake(self) -> None:
        for worker in self.workers:
            worker.frozen = False

    # The network and the server

    @precondition(lambda self: self.flying)
    @rule(which=which)
    def deliver(self, which: int) -> None:
        self.server.deliver(self._one(which))

    @precondition(lambda self: self.flying)
    @rule(which=which, refused=st.booleans())
    def lose_or_refuse(self, which: int, refused: bool) -> None:
        if refused:
            self.server.refuse(self._one(which))
        else:
            self.server.lose(self._one(which))

    @precondition(lambda self: any(run.active for run in self._runs()))
    @rule(which=which, cancelled=st.booleans())
    def finish(self, which: int, cancelled: bool) -> None:
        active = [run for run in self.server.runs if run.active]
        run = active[which % len(active)]
        wanted = cancelled and run.status == "cancelling"
        run.status = "cancelled" if wanted else "completed"

    # People and time

    @rule(which=which)
    def cancel(self, which: int) -> None:
        name = self.jobs[which % len(self.jobs)]
        self.store.cancel(self.batch.id, only=frozenset({name}))

    @rule(which=which)
    def retry(self, which: int) -> None:
        name = self.jobs[which % len(self.jobs)]
        states = frozenset({JobState.FAILED, JobState.CANCELLED})
        self.store.retry(self.batch.id, states=states, only=frozenset({name}))

    @rule(quarters=st.sampled_from([1, 5, 13]))
    def pass_time(self, quarters: int) -> None:
        """Let time pass in quarters of a tick; what must arrive by then does."""
        for _ in range(quarters):
            self._pass(TICK // 4)

    def _pass(self, ms: int) -> None:
        until = self.time.now_ms + ms
        for sent in [one for one in self.server.flight if one.until_ms < until]:
            self.server.deliver(sent)
        for worker in self.workers:
            if worker.sends_next and worker.frozen and not self.dead_man:
                worker.frozen = False
                worker.step()
        self.time.now_ms = until
        for worker in self.workers:
            if not worker.frozen:
                worker.beat()
            elif self.dead_man and self.time.seconds() >= worker.lease.good_until:
                worker.die()

    @property
    def flying(self) -> list[InFlight]:
        return self.server.flight if self.workers else []

    def _one(self, which: int) -> InFlight:
        return self.server.flight[which % len(self.server.flight)]

    # Always

    @invariant()
    def one_run_a_generation(self) -> None:
        keys = [run.key for run in self._runs()]
        assert len(keys) == len(set(keys)), keys

    @invariant()
    def one_active_run_a_thread(self) -> None:
        threads = [run.thread_id for run in self._runs() if run.active]
        assert len(threads) == len(set(threads)), threads

    @invariant()
    def rows_at_rest_say_what_their_runs_say(self) -> None:
        runs = {run.id: run for run in self._runs()}
        for _, _, state, _, run_id in self._rows():
            if state >= 3 and run_id:
                word = list(JobState)[state].value
                assert runs[run_id].status == STATUSES[word]

    @invariant()
    def every_run_of_a_quiet_job_at_rest_is_known(self) -> None:
        for job_id, name, state, generation, _ in self._rows():
            keys = {idempotency_key(self.batch.uid, name, g + 1) for g in range(generation)}
            if state < 3 or self._is_under_way(job_id, keys):
                continue
            known = self._known(job_id)
            assert all(run.id in known for run in self._runs() if run.key in keys), name

    @invariant()
    def an_open_attempt_has_a_sender(self) -> None:
        sql = (
            "SELECT id FROM job WHERE state = 1 AND clock_closed_ms = 0 AND (worker IS NULL"
            " OR worker NOT IN (SELECT id FROM worker))"
        )
        assert not rows(self.store, sql)

    @invariant()
    def what_is_held_is_held_by_a_worker_that_others_can_see(self) -> None:
        sql = (
            "SELECT id FROM job WHERE worker IS NOT NULL AND worker NOT IN (SELECT id FROM worker)"
        )
        assert not rows(self.store, sql)

    @invariant()
    def counts_are_kept(self) -> None:
        assert tallied(self.store) == counted(self.store)

    def _runs(self) -> list[Made]:
        return self.server.runs if self.workers else []

    def _rows(self) -> list[tuple[int, str, int, int, str]]:
        if not self.workers:
            return []
        sql = "SELECT id, custom_id, state, generation, run_id FROM job WHERE batch_id = :batch"
        found = rows(self.store, sql, batch=self.batch.id)
        return [
            (int(number or 0), str(name), int(state or 0), int(generation or 0), str(run_id or ""))
            for number, name, state, generation, run_id in found
        ]

    def _known(self, job_id: int) -> set[str]:
        sql = (
            "SELECT run_id FROM attempt WHERE job_id = :id UNION"
            " SELECT run_id FROM outcome WHERE job_id = :id UNION"
            " SELECT run_id FROM job WHERE id = :id"
        )
        return {str(row[0]) for row in rows(self.store, sql, id=job_id)}

    def _is_under_way(self, job_id: int, keys: set[str]) -> bool:
        """Whether a create of a job, or an answer that names its run, is not at its end."""
        if any(dict(one.call.headers)["Idempotency-Key"] in keys for one in self.server.flight):
            return True
        mine = [w.carried for w in self.workers if w.carried and w.carried.job.id == job_id]
        return any(one.at == "adopt" or (one.sent and one.sent.reply) for one in mine)

    # Ends

    def teardown(self) -> None:
        """Heal all faults: everything comes to rest, and an audit finds nothing."""
        if not self.workers:
            return
        for worker in self.workers:
            worker.frozen = False
        for _ in range(200):
            if self.store.left([self.batch.id]).jobs == 0 and not self.server.flight:
                break
            self._heal()
        assert self.store.left([self.batch.id]).jobs == 0, self._rows()
        for sent in list(self.server.flight):
            self.server.deliver(sent)
        for worker in self.workers:
            worker.retire()
        self._audit()

    def _heal(self) -> None:
        """Let everything happen that happens without faults."""
        for _ in range(4):
            for worker in self.workers:
                worker.step()
            for sent in list(self.server.flight):
                self.server.deliver(sent)
        for worker in self.workers:
            carried = worker.carried
            if carried is not None and worker.waits and carried.sent and not carried.sent.reply:
                worker.time_out()
        for run in self.server.runs:
            if run.active:
                run.status = "cancelled" if run.status == "cancelling" else "completed"
        self._pass(TICK)

    def _audit(self) -> None:
        self.one_run_a_generation()
        self.rows_at_rest_say_what_their_runs_say()
        self.every_run_of_a_quiet_job_at_rest_is_known()
        self.counts_are_kept()
        outcomes = list(self.store.outcomes(self.batch.id))
        assert [one.custom_id for one in outcomes] == self.jobs
        for one in outcomes:
            if one.state is JobState.SUCCEEDED:
                assert one.run is not None
                assert json.loads(one.run)["id"] == one.run_id
            assert not one.doubles
        assert not self.store.check()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    yield world
    world.empty()
    world.store.close()


@pytest.fixture
def played(world: World) -> Iterator[Machine]:
    """A machine to be played by hand; in the end all must come to rest and be known."""
    Machine.world = world
    machine = Machine()
    machine.begin(locks=False, dead_man=False)
    yield machine
    machine.teardown()


def _wait_until_quiet(played: Machine) -> None:
    played.pass_time(4 * (TIMES.wait + TIMES.stale) // TICK + 1)


def test_a_send_whose_worker_was_killed_is_looked_up_and_not_sent_again(played: Machine) -> None:
    played.work(0, "wait")
    played.kill(0)
    played.deliver(0)
    played.pass_time(5)
    played.work(1, "adopt")
    played.work(1, "follow")
    assert len(played.server.runs) == 1
    assert played.workers[1].carried is not None
    assert played.workers[1].carried.run_id == played.server.runs[0].id


def test_a_send_that_nobody_saw_arrive_is_sent_again_only_when_nothing_can_arrive(
    played: Machine,
) -> None:
    played.doubt(0)
    played.lose_or_refuse(0, refused=False)
    played.pass_time(4 * TIMES.wait // TICK)
    played.work(0, "wait")
    assert not played.flying
    played.pass_time(1)
    played.work(0, "wait")
    assert len(played.flying) == 1


def test_a_stopped_worker_that_wakes_after_its_lease_sends_nothing(played: Machine) -> None:
    played.work(0, "check")
    played.freeze(0)
    played.pass_time(13)
    played.work(1, "look")
    _wait_until_quiet(played)
    played.work(1, "wait")
    played.wake()
    played.work(0, "wait")
    on_the_thread = [one for one in played.flying if "thread_a" in one.call.path]
    assert len(on_the_thread) == 1


def test_a_stopped_worker_cannot_renew_a_lease_that_was_taken_over(played: Machine) -> None:
    played.work(0, "check")
    before = played.workers[0].id
    played.freeze(0)
    played.pass_time(13)
    played.work(1, "look")
    played.wake()
    _wait_until_quiet(played)
    assert played.workers[0].id != before
    played.work(1, "wait")
    assert {one.call.path for one in played.flying} == {"/threads/thread_a/runs"}
    assert len(played.flying) == 1


def test_an_intent_that_another_worker_has_overtaken_is_refused(played: Machine) -> None:
    worker = played.workers[0]
    worker.step()
    played.freeze(0)
    played.pass_time(13)
    played.work(1, "wait")
    played.wake()
    # A lease that were good again must not help: the token has moved on.
    worker.lease.renewed(played.time.seconds())
    worker.step()
    assert worker.carried is None
    assert len(played.flying) == 1


def test_an_answer_that_comes_to_a_worker_that_lost_its_job_is_kept(played: Machine) -> None:
    played.work(0, "wait")
    played.freeze(0)
    played.deliver(0)
    played.pass_time(13)
    played.work(1, "look")
    played.wake()
    played.work(0, "rest")
    job_id = min(row[0] for row in played._rows())
    assert played.store.noted(job_id, 1) == played.server.runs[0].id


def test_a_presumed_death_makes_the_wait_longer(played: Machine) -> None:
    played.work(0, "check")
    played.freeze(0)
    played.pass_time(13)
    played.work(1, "look")
    played.pass_time(4 * TIMES.wait // TICK + 1)
    played.work(1, "wait")
    assert not played.flying
    played.pass_time(4 * TIMES.stale // TICK)
    played.work(1, "wait")
    assert len(played.flying) == 1


def test_a_second_taking_over_does_not_move_the_quiet_time(played: Machine) -> None:
    played.work(0, "wait")
    played.kill(0)
    played.lose_or_refuse(0, refused=False)
    played.work(1, "look")
    played.pass_time(8)
    played.kill(1)
    played.work(0, "look")
    played.pass_time(5)
    played.work(0, "wait")
    assert len(played.flying) == 1


def test_another_s_run_that_holds_the_thread_is_waited_for_and_costs_no_try(world: World) -> None:
    Machine.world = world
    played = Machine()
    played.begin(locks=True, dead_man=False)
    foreign = Made("run_foreign", "thread_a", "", played.time.now_ms)
    played.server.runs.append(foreign)
    played.work(0, "wait")
    played.deliver(0)
    played.work(0, "blocked")
    worker = played.workers[0]
    assert worker.carried is not None
    assert (worker.carried.at, worker.carried.refusals) == ("blocked", 0)
    played.pass_time(4 * TIMES.wait // TICK + 1)
    played.work(0, "wait")
    assert not played.flying
    foreign.status = "completed"
    played.work(0, "wait")
    assert len(played.flying) == 1
    played.teardown()


def test_a_wait_that_is_too_short_is_seen_by_these_tests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = sys.modules[__name__]
    monkeypatch.setattr(here, "TIMES", replace(TIMES, wait=TIMES.delay))
    Machine.world = world
    machine = Machine()
    machine.begin(locks=False, dead_man=False)
    machine.doubt(0)
    machine.pass_time(5)
    machine.work(0, "wait")
    machine.deliver(0)
    with pytest.raises(AssertionError):
        machine.one_run_a_generation()


@pytest.mark.timeout(600)  # Shrinking what was found takes minutes.
def test_the_real_store_keeps_the_protocol(world: World) -> None:
    Machine.world = world
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
