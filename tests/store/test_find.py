"""`show` is told all that is known of a job."""

from store_book import begin, line, queue, working, write
from store_ends import HUNG_UP, OOPS, fail, sent

from runner.core.model import JobState
from runner.core.moves import Doubt, Evidence, Intend, Requeue, held
from runner.store.claim import Want
from runner.store.store import Store


def test_a_job_is_found_with_its_request_its_attempts_and_its_ends(store: Store) -> None:
    at = working(store, [line(1, content="hello")])
    fail(store, at.jobs[0], again=True)
    (job,) = store.claim(at.me, [Want(at.batch.id, None, 1)])
    write(store, Intend(held(job)), Doubt(sent(job), HUNG_UP))
    ((found,),) = [store.find("q-0001")]
    seen = found.job
    assert (found.batch, found.dialect) == ("nightly", "openai")
    assert (seen.body, seen.source, seen.line) == (
        b'{"instructions": "hello"}', "m.jsonl", 1,
    )  # fmt: skip
    assert (seen.state, seen.generation, seen.attempt, seen.doubted) == (
        JobState.SUBMITTING, 2, 1, True,
    )  # fmt: skip
    assert seen.key == job.key
    whys = [(one.generation, one.why, one.run_id, one.request_id) for one in seen.attempts]
    assert whys == [(1, "created", "run_q-0001_1", "req_1"), (2, "hung_up", "", "")]
    (end,) = seen.outcomes
    assert (end.generation, end.status, end.error) == (1, "failed", OOPS)


def test_a_name_is_looked_for_in_one_batch_or_in_all(store: Store) -> None:
    one, other = begin(store, "one"), begin(store, "other")
    for batch in (one, other):
        queue(store, batch, [line(1)])
    assert [found.batch for found in store.find("q-0001")] == ["one", "other"]
    assert [found.batch for found in store.find("q-0001", other.id)] == ["other"]
    assert store.find("nobody") == []


def test_a_job_that_is_put_off_tells_for_how_long(store: Store) -> None:
    at = working(store, [line(1)])
    (job,) = at.jobs
    write(store, Intend(held(job)), Requeue(sent(job), Evidence("refused"), 60_000))
    (found,) = store.find("q-0001")
    assert 0 < found.job.waits_ms <= 60_000
    assert found.job.worker is None
