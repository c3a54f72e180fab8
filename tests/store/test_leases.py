"""Who is dead, who is only silent, and what becomes of what they held."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from forked import PIPE, Forked
from sqlalchemy import text
from store_book import begin, count, counted, line, queue, rows, tallied, working, write

from runner.core.errors import LeaseLost
from runner.core.model import JobState
from runner.core.moves import Doubt, Evidence, Held, Intend, held
from runner.store.claim import Want
from runner.store.leases import StoppedWorker, TakenOver
from runner.store.store import Store

# Holds four jobs: queued, an open intent, a closed doubt, running; then does as it is told.
CHILD = """
import sys
from msgspec.structs import replace
from store_book import write
from runner.core.model import JobState
from runner.core.moves import Created, Doubt, Evidence, Intend, held
from runner.core.errors import LeaseLost
from runner.store.claim import Want
from runner.store.store import Store

store = Store.open(sys.argv[1])
me = store.enlist(batches="nightly", version="t").id
jobs = store.claim(me, [Want(1, None, 4)])
ats = [replace(held(job), state=JobState.SUBMITTING, attempt=1) for job in jobs]
assert all(write(store, *(Intend(held(job)) for job in jobs[1:])))
assert all(write(store, Doubt(ats[2], Evidence("hung_up")),
                 Created(ats[3], "run_4", Evidence("created"))))
print(me, flush=True)
for order in sys.stdin:
    if order == "beat\\n":
        good = store.beat(me, 4)
        won = write(store, Intend(held(jobs[0])), Created(ats[1], "run_2", Evidence("created")))
        try:
            store.claim(me, [Want(1, None, 1)])
            claimed = "claimed"
        except LeaseLost:
            claimed = "lease lost"
        print(good, won, claimed, flush=True)
"""


@dataclass(frozen=True)
class Other:
    """Another process that works, and what it said its id was."""

    process: Forked
    id: str

    def tell(self, order: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def other(store_url: str, store: Store) -> Iterator[Other]:
    queue(store, begin(store), [line(number) for number in range(1, 6)])
    process = Forked("", store_url, source=CHILD, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    yield Other(process, process.stdout.readline().strip())
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate(timeout=30)


STATES = """
    SELECT id, state, worker IS NULL, token, doubted, presumed, clock_closed_ms > 0
    FROM job ORDER BY id
"""


def test_a_killed_worker_is_taken_over_at_once_by_its_lock(store: Store, other: Other) -> None:
    me = store.enlist(batches="", version="t").id
    assert store.take_over(me) == TakenOver()
    closed_ms = count(store, "SELECT clock_closed_ms FROM job WHERE id = 3")
    other.process.kill()
    other.process.wait(30)
    taken = store.take_over(me)
    assert taken == TakenOver(proven=1, queued=1, submitting=2, running=1)
    found = [tuple(int(v or 0) for v in row) for row in rows(store, STATES)]
    assert found == [
        (1, 0, 1, 2, 0, 0, 0),
        (2, 1, 1, 2, 1, 0, 1),
        (3, 1, 1, 2, 1, 0, 1),
        (4, 2, 1, 2, 0, 0, 0),
        (5, 0, 1, 0, 0, 0, 0),
    ]
    assert count(store, "SELECT clock_closed_ms FROM job WHERE id = 3") == closed_ms
    dead = rows(store, "SELECT job_id, why, sender FROM attempt WHERE why = 'sender_dead'")
    assert dead == [(2, "sender_dead", other.id)]
    assert rows(store, "SELECT COUNT(*) FROM worker") == [(1,)]
    adrift = store.claim_adrift(me, [1], 10)
    assert [(job.id, job.state) for job in adrift] == [
        (2, JobState.SUBMITTING),
        (3, JobState.SUBMITTING),
        (4, JobState.RUNNING),
    ]
    assert store.take_over(me) == TakenOver()
    assert tallied(store) == counted(store)


def test_a_stopped_worker_is_presumed_dead_and_told_and_loses_all_when_it_wakes(
    store: Store, other: Other
) -> None:
    me = store.enlist(batches="", version="t").id
    os.kill(other.process.pid, signal.SIGSTOP)
    store._write(
        lambda c: c.execute(
            text("UPDATE worker SET clock_beat_ms = clock_beat_ms - 60000 WHERE id = :id"),
            {"id": other.id},
        )
    )
    taken = store.take_over(me)
    stopped = StoppedWorker(other.id, os.uname().nodename, other.process.pid, 2)
    assert taken == TakenOver(0, 1, 1, 2, 1, (stopped,))
    presumed = rows(store, "SELECT id FROM job WHERE presumed = 1")
    assert presumed == [(2,)]
    assert rows(store, "SELECT why FROM attempt WHERE job_id = 2") == [("lease_over",)]
    assert store.take_over(me) == TakenOver()
    os.kill(other.process.pid, signal.SIGCONT)
    assert other.tell("beat") == "False [False, False] lease lost"
    assert rows(store, "SELECT state FROM job WHERE id IN (1, 2) ORDER BY id") == [(0,), (1,)]


def test_a_worker_is_at_work_while_it_holds_its_lock(store: Store, other: Other) -> None:
    store._write(lambda c: c.execute(text("UPDATE worker SET clock_beat_ms = 0")))
    assert [one.id for one in store.living()] == [other.id], "however silent"
    store._write(lambda c: c.execute(text("UPDATE worker SET taken = 1")))
    assert store.living() == []
    store._write(lambda c: c.execute(text("UPDATE worker SET taken = 0")))
    assert store.beat(other.id, 0)
    other.process.kill()
    other.process.wait(30)
    assert store.living() == [], "it beat a moment ago, and is dead"


@pytest.mark.parametrize(("lease_ms", "living"), [(600_000, 1), (30_000, 0)])
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_worker_on_another_machine_is_believed_for_its_own_lease(
    store: Store, lease_ms: int, living: int
) -> None:
    other = store.enlist(batches="", version="t", lease_ms=lease_ms).id
    store._write(
        lambda c: c.execute(
            text("UPDATE worker SET boot = 'theirs', clock_beat_ms = clock_beat_ms - 120000")
        )
    )
    assert len(store.living()) == living
    me = store.enlist(batches="", version="t", lease_ms=1000).id
    assert store.take_over(me).presumed == 1 - living
    assert store.beat(other, 0) == bool(living)


def test_a_worker_that_beats_is_left_alone(store: Store, other: Other) -> None:
    me = store.enlist(batches="", version="t").id
    assert store.beat(me, 0)
    assert other.tell("beat") == "True [True, True] claimed"
    assert store.take_over(me) == TakenOver()


def test_who_retires_gives_back_all_that_it_holds(store: Store) -> None:
    work = working(store, [line(1), line(2)])
    at = held(work.jobs[0])
    write(store, Intend(at))
    store.retire(work.me)
    assert rows(store, "SELECT COUNT(*) FROM worker") == [(0,)]
    assert not store.beat(work.me, 0)
    found = rows(store, "SELECT state, doubted, clock_closed_ms > 0, worker FROM job ORDER BY id")
    assert [(int(s or 0), d, bool(c), w) for s, d, c, w in found] == [
        (1, 1, True, None),
        (0, 0, False, None),
    ]
    assert rows(store, "SELECT why FROM attempt") == [("hung_up",)]
    me = store.enlist(batches="", version="t").id
    assert [job.id for job in store.claim(me, [Want(work.batch.id, None, 9)])] == [2]
    with pytest.raises(LeaseLost):
        store.claim(work.me, [Want(work.batch.id, None, 9)])


def test_a_worker_of_another_boot_is_dead_where_the_database_is_a_file(
    store: Store, open_store: Callable[[], Store]
) -> None:
    work = working(store, [line(1)])
    store._write(lambda c: c.execute(text("UPDATE worker SET boot = 'before', lock = '/no/file'")))
    second = open_store()
    me = second.enlist(batches="", version="t").id
    taken = second.take_over(me)
    # On a server it is another machine's, of which a lock's path says nothing.
    proven = 1 if store.engine_name == "sqlite" else 0
    assert (taken.proven, taken.queued) == (proven, proven)
    assert count(store, "SELECT COUNT(*) FROM job WHERE worker IS NULL") == proven
    assert work.jobs


def test_a_second_taking_over_does_not_move_the_end_of_the_wait(store: Store) -> None:
    work = working(store, [line(1)])
    write(store, Intend(held(work.jobs[0])))
    store.retire(work.me)
    closed = rows(store, "SELECT clock_closed_ms FROM job")
    for _ in range(2):
        me = store.enlist(batches="", version="t").id
        job = store.claim_adrift(me, [work.batch.id], 1)[0]
        at = Held(job.id, job.batch_id, 1, 1, JobState.SUBMITTING, job.token)
        write(store, Doubt(at, Evidence("hung_up")))
        store.retire(me)
    assert rows(store, "SELECT clock_closed_ms FROM job") == closed


def test_who_closes_without_retiring_is_known_for_dead_at_once(
    open_store: Callable[[], Store],
) -> None:
    first = open_store()
    working(first, [line(1)])
    first.close()
    second = open_store()
    me = second.enlist(batches="", version="t").id
    assert second.take_over(me) == TakenOver(proven=1, queued=1)
