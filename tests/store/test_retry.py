"""A retry makes the next generation of exactly the jobs that are meant (protocol.md, row 20)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from store_book import counted, line, queue, rows, tallied, working, write
from store_ends import create, fail, rest_in_doubt, succeed

from runner.core.model import ApiError, JobState, Reason
from runner.core.moves import Intend, Settle, held
from runner.store.cancel import Cancelled
from runner.store.claim import Want
from runner.store.retry import Retried, Wanted
from runner.store.store import Store

ORDINARY = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def test_a_failed_job_comes_back_as_its_next_generation(store: Store) -> None:
    at = working(store, [line(1), line(2)])
    before = at.jobs[0]
    fail(store, before)
    assert store.retry(at.batch.id) == Retried(1)
    (job,) = store.claim(at.me, [Want(at.batch.id, None, 5)])
    assert (job.id, job.generation, job.attempt, job.state) == (before.id, 2, 0, JobState.QUEUED)
    assert job.key != before.key
    assert job.key.rpartition("-")[0] == before.key.rpartition("-")[0]
    assert (job.run_id, job.doubted, job.first_intent_ms, job.refusals) == (None, False, 0, 0)
    assert tallied(store) == counted(store)
    assert store.check() == []
    progress = store.progress(at.batch.id)
    assert (progress.tokens["total"], progress.earlier_tokens, progress.causes) == (0, 15, ())


def test_a_job_in_doubt_needs_a_persons_word_and_remembers_its_first_intent(store: Store) -> None:
    at = working(store, [line(1)])
    rest_in_doubt(store, at.jobs[0])
    ((intent_ms,),) = rows(store, "SELECT first_intent_ms FROM job")
    assert store.retry(at.batch.id) == Retried(0, held_back_in_doubt=1)
    assert store.retry(at.batch.id, even_in_doubt=True) == Retried(1)
    (job,) = store.claim(at.me, [Want(at.batch.id, None, 1)])
    assert (job.generation, job.doubted) == (2, True)
    assert job.first_intent_ms == intent_ms, "the look must go back to before it"


def test_a_doubt_that_was_never_looked_into_is_not_forgotten_by_a_second_retry(
    store: Store,
) -> None:
    at = working(store, [line(1)])
    rest_in_doubt(store, at.jobs[0])
    store.retry(at.batch.id, even_in_doubt=True)
    # An earlier attempt may still arrive, so the wish alone does not end it.
    assert store.cancel(at.batch.id) == Cancelled(asked=1)
    store.retry(at.batch.id)
    (job,) = store.claim(at.me, [Want(at.batch.id, None, 1)])
    assert (job.generation, job.doubted, job.cancel_asked) == (2, True, True)
    assert job.first_intent_ms > 0


def test_the_wish_to_cancel_was_for_the_generation_that_it_ended(store: Store) -> None:
    at = working(store, [line(1)])
    running = create(store, at.jobs[0])
    store.cancel(at.batch.id)
    write(store, Settle(running, JobState.CANCELLED, Reason.CANCELLED))
    store.retry(at.batch.id)
    (job,) = store.claim(at.me, [Want(at.batch.id, None, 1)])
    assert not job.cancel_asked
    assert store.asked(at.me) == []


def test_what_succeeded_is_made_anew_only_where_it_is_named(store: Store) -> None:
    at = working(store, [line(1), line(2)])
    for job in at.jobs:
        succeed(store, job)
    every = frozenset(ORDINARY)
    assert store.retry(at.batch.id, states=every) == Retried(0)
    named = store.retry(at.batch.id, only=frozenset({"q-0002", "nobody"}))
    assert named == Retried(1, unknown=("nobody",))


def test_jobs_are_chosen_by_status_and_by_code(store: Store) -> None:
    at = working(store, [line(n) for n in range(1, 5)])
    fail(store, at.jobs[0], error=ApiError(code="rate_limit_exceeded"))
    fail(store, at.jobs[1], error=ApiError(type="server_error"))
    fail(store, at.jobs[2], error=None)
    write(store, Settle(held(at.jobs[3]), JobState.FAILED, Reason.REJECTED))
    assert store.retry(at.batch.id, codes=frozenset({"rate_limit_exceeded"})) == Retried(1)
    assert store.retry(at.batch.id, codes=frozenset({"server_error"})) == Retried(1)
    assert store.retry(at.batch.id, statuses=frozenset({"rejected"})) == Retried(1)
    assert store.retry(at.batch.id) == Retried(1)


def test_retried_jobs_of_one_thread_go_one_at_a_time_in_manifest_order(store: Store) -> None:
    at = working(store, [line(n, thread="thread_1") for n in range(1, 4)])
    for _ in range(3):
        for job in store.claim(at.me, [Want(at.batch.id, None, 5)]) or at.jobs:
            fail(store, job)
    assert store.retry(at.batch.id) == Retried(3)
    order = []
    for _ in range(3):
        (job,) = store.claim(at.me, [Want(at.batch.id, None, 5)])
        order.append(job.custom_id)
        succeed(store, job)
    assert order == ["q-0001", "q-0002", "q-0003"]
    assert store.check() == []


def test_a_retried_job_waits_while_another_of_its_thread_runs(store: Store) -> None:
    at = working(store, [line(1, thread="thread_1"), line(2, thread="thread_1")])
    fail(store, at.jobs[0])
    (second,) = store.claim(at.me, [Want(at.batch.id, None, 5)])
    create(store, second)
    store.retry(at.batch.id)
    assert store.claim(at.me, [Want(at.batch.id, None, 5)]) == []
    store.retire(at.me)
    assert store.check() == []


def test_a_move_that_was_decided_before_the_retry_is_refused(store: Store) -> None:
    at = working(store, [line(1)])
    (old,) = at.jobs
    fail(store, old)
    store.retry(at.batch.id)
    store.claim(at.me, [Want(at.batch.id, None, 1)])
    assert write(store, Intend(held(old))) == [False]


def test_more_jobs_than_a_transaction_holds_are_all_put_back(store: Store) -> None:
    batch = working(store, [line(1)]).batch
    queue(store, batch, [line(n) for n in range(2, 2105)])
    store.retire(store.progress(batch.id).workers[0].id)
    assert store.cancel(batch.id).ended == 2104
    assert store.retry(batch.id) == Retried(2104)
    assert tallied(store) == counted(store)


ENDS = st.sampled_from(["succeeded", "failed", "in_doubt", "cancelled", "queued", "running"])


@settings(max_examples=12, deadline=None)
@given(
    ends=st.lists(ENDS, min_size=1, max_size=6),
    states=st.sets(st.sampled_from(ORDINARY)),
    even=st.booleans(),
    named=st.booleans(),
)
def test_whatever_the_ends_only_what_is_meant_moves_and_the_books_agree(
    ends: list[str], states: set[JobState], even: bool, named: bool
) -> None:
    store = Store.open(":memory:")
    try:
        at = working(store, [line(n) for n in range(1, len(ends) + 1)])
        for job, end in zip(at.jobs, ends, strict=True):
            if end == "succeeded":
                succeed(store, job)
            elif end == "failed":
                fail(store, job)
            elif end == "in_doubt":
                rest_in_doubt(store, job)
            elif end == "cancelled":
                write(store, Settle(held(job), JobState.CANCELLED, Reason.CANCELLED))
            elif end == "running":
                create(store, job)
        only = frozenset(job.custom_id for job in at.jobs) if named else frozenset[str]()
        retried = store.retry(at.batch.id, states=frozenset(states), only=only, even_in_doubt=even)
        wanted = Wanted(frozenset(states), named=named)
        meant = [
            end
            for end in ends
            if (end == "in_doubt" and JobState.FAILED in wanted.all_states and even)
            or end in {state.value for state in wanted.all_states}
        ]
        assert retried.jobs == len(meant)
        again = rows(store, "SELECT COUNT(*) FROM job WHERE generation = 2 AND state = 0")
        assert again == [(len(meant),)]
        assert tallied(store) == counted(store)
        assert store.check() == []
    finally:
        store.close()
