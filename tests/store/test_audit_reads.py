"""What an audit compares with the API: each thread with its jobs, keys and known runs."""

import pytest
from store_book import begin, counted, line, queue, tallied, working, write
from store_ends import create, fail, rest_in_doubt, sent, succeed

from runner.core.model import JobState, Reason
from runner.core.moves import Doubt, Evidence, Intend, Note, Settle, Threaded, held
from runner.store import audit
from runner.store.audit import RunSeen
from runner.store.claim import Want
from runner.store.store import Store


@pytest.mark.parametrize("chunk", [1, 2, 5000])
def test_each_thread_comes_once_with_all_its_jobs(
    store: Store, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CHUNK", chunk)
    batch = begin(store)
    threads = ["thread_b", "thread_a", None, "thread_b", None, "thread_b"]
    queue(store, batch, [line(n, thread=one) for n, one in enumerate(threads, 1)])
    seen = [
        (one.thread_id, [job.custom_id for job in one.jobs])
        for one in store.audit_threads(batch.id)
    ]
    assert seen == [("thread_a", ["q-0002"]), ("thread_b", ["q-0001", "q-0004", "q-0006"])]


def test_the_runs_of_all_generations_and_what_evidence_names_are_told(store: Store) -> None:
    at = working(store, [line(1, thread="thread_1")])
    fail(store, at.jobs[0], again=True)
    (job,) = store.claim(at.me, [Want(at.batch.id, None, 1)])
    create(store, job, doubles=("run_double",))
    write(store, Note(job.id, 1, 1, Evidence("noted", run_id="run_late")))
    ((thread,),) = [one.jobs for one in store.audit_threads(at.batch.id)]
    assert thread.keys == (at.jobs[0].key, job.key)
    assert thread.runs == (RunSeen(1, "run_q-0001_1", "failed"), RunSeen(2, "run_q-0001_2", ""))
    assert (thread.doubles, thread.noted) == (("run_double",), ("run_late",))


def test_a_job_whose_create_may_be_under_way_is_open_until_it_is_closed(store: Store) -> None:
    at = working(store, [line(1)])
    (job,) = at.jobs
    write(store, Threaded(held(job), "thread_own"), Intend(held(job)))
    ((before,),) = [one.jobs for one in store.audit_threads(at.batch.id)]
    write(store, Doubt(sent(job), Evidence("hung_up")))
    ((after,),) = [one.jobs for one in store.audit_threads(at.batch.id)]
    assert (before.open, before.closed_ms, before.own_thread) == (True, 0, True)
    assert after.closed_ms > 0
    assert not after.open


def test_a_run_without_a_job_is_adopted_by_the_job_that_lost_it(store: Store) -> None:
    at = working(store, [line(1)])
    rest_in_doubt(store, at.jobs[0])
    assert store.adopt(at.jobs[0].id, 1, "run_lost")
    assert store.progress(at.batch.id).causes == ()
    assert store.check() == [], "a job on its way has no end"
    (job,) = store.claim_adrift(at.me, [at.batch.id], 5)
    assert (job.state, job.run_id, job.generation) == (JobState.RUNNING, "run_lost", 1)
    assert write(store, Settle(held(job), JobState.SUCCEEDED, "completed", run=b"{}")) == [True]
    (outcome,) = store.outcomes(at.batch.id)
    assert (outcome.run_id, outcome.status) == ("run_lost", "completed")
    assert tallied(store) == counted(store)
    assert store.check() == []


def test_nothing_is_adopted_by_a_job_that_has_a_run_or_has_gone_on(store: Store) -> None:
    at = working(store, [line(1), line(2), line(3)])
    fail(store, at.jobs[0])
    succeed(store, at.jobs[1])
    write(store, Settle(held(at.jobs[2]), JobState.FAILED, Reason.EXHAUSTED))
    first, second, third = (job.id for job in at.jobs)
    assert not store.adopt(first, 1, "run_x"), "it has a run"
    assert not store.adopt(second, 1, "run_x"), "it succeeded"
    assert not store.adopt(third, 2, "run_x"), "another generation"
    assert store.adopt(third, 1, "run_x")
    assert not store.adopt(third, 1, "run_y"), "it runs"
