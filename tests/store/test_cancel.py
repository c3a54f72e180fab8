"""A cancel ends what has asked nothing of the API, and only asks of the rest (rows 17 to 19)."""

from store_book import begin, counted, line, queue, rows, tallied, working, write
from store_ends import create, sent, succeed

from runner.core.model import JobState
from runner.core.moves import Doubt, Evidence, Intend, Requeue, held
from runner.store.cancel import Cancelled
from runner.store.claim import Want
from runner.store.store import Store


def test_queued_jobs_end_and_the_others_are_asked(store: Store) -> None:
    at = working(store, [line(n) for n in range(1, 4)])
    queue(store, at.batch, [line(4)])
    succeed(store, at.jobs[0])
    create(store, at.jobs[1])
    assert store.cancel(at.batch.id) == Cancelled(ended=1, asked=2)
    states = rows(store, "SELECT custom_id, state FROM job ORDER BY id")
    assert states == [("q-0001", 3), ("q-0002", 2), ("q-0003", 0), ("q-0004", 5)]
    asked = rows(store, "SELECT custom_id FROM job WHERE cancel_asked = 1 ORDER BY id")
    assert asked == [("q-0002",), ("q-0003",)]
    (ended,) = store.outcomes(at.batch.id, states=frozenset({JobState.CANCELLED}))
    assert (ended.custom_id, ended.status, ended.run) == ("q-0004", "cancelled", None)
    assert tallied(store) == counted(store)
    assert store.check() == []


def test_only_the_named_jobs_are_cancelled(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(1), line(2)])
    cancelled = store.cancel(batch.id, only=frozenset({"q-0002", "q-9999"}))
    assert cancelled == Cancelled(ended=1, unknown=("q-9999",))
    assert [count.jobs for count in store.progress(batch.id).counts] == [1, 1]


def test_the_next_of_a_thread_gets_the_turn_of_a_cancelled_job(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(n, thread="thread_1") for n in range(1, 4)])
    store.cancel(batch.id, only=frozenset({"q-0001"}))
    me = store.enlist(batches="nightly", version="test").id
    (job,) = store.claim(me, [Want(batch.id, None, 5)])
    assert job.custom_id == "q-0002"
    assert store.check() == []


def test_a_waiting_job_that_is_cancelled_frees_no_turn(store: Store) -> None:
    at = working(store, [line(n, thread="thread_1") for n in range(1, 4)])
    create(store, at.jobs[0])
    store.cancel(at.batch.id, only=frozenset({"q-0002"}))
    assert store.claim(at.me, [Want(at.batch.id, None, 5)]) == []
    assert store.check() == []


def test_a_job_under_way_that_was_surely_refused_ends_as_cancelled(store: Store) -> None:
    at = working(store, [line(1), line(2)])
    job = at.jobs[0]
    write(store, Intend(held(job)))
    store.cancel(at.batch.id, only=frozenset({job.custom_id}))
    assert write(store, Requeue(sent(job), Evidence("refused", http_status=429))) == [True]
    ((state, status),) = rows(store, "SELECT state, status FROM job WHERE id = :id", id=job.id)
    assert (state, status) == (5, "cancelled")
    assert store.check() == []


def test_a_job_in_doubt_only_hears_the_wish(store: Store) -> None:
    """At rest as cancelled its run could arrive late and run on unknown (protocol.md, 7 steps)."""
    (job,) = working(store, [line(1)]).jobs
    write(store, Intend(held(job)), Doubt(sent(job), Evidence("hung_up")))
    assert store.cancel(job.batch_id) == Cancelled(asked=1)
    assert rows(store, "SELECT state, cancel_asked FROM job") == [(1, 1)]


def test_cancelling_twice_changes_nothing_more(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(1), line(2)])
    assert store.cancel(batch.id) == Cancelled(ended=2)
    assert store.cancel(batch.id) == Cancelled()
