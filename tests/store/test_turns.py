"""Jobs that share a thread go one at a time, in manifest order, and none waits for ever."""

import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from store_book import begin, count, counted, line, queue, tallied, working, write

from runner.core.model import JobState
from runner.core.moves import Created, Evidence, Intend, Move, Requeue, Settle, Threaded, held
from runner.store.claim import Want
from runner.store.store import Store

RESTS = [
    (JobState.SUCCEEDED, "completed"),
    (JobState.FAILED, "failed"),
    (JobState.CANCELLED, "cancelled"),
]


@pytest.mark.parametrize(("state", "status"), RESTS)
def test_the_turn_passes_at_every_rest(store: Store, state: JobState, status: str) -> None:
    work = working(store, [line(1, thread="t"), line(2, thread="t"), line(3, thread="t"), line(4)])
    assert [job.custom_id for job in work.jobs] == ["q-0001", "q-0004"]
    job = work.jobs[0]
    at = replace(held(job), state=JobState.SUBMITTING, attempt=1)
    assert all(
        write(
            store,
            Intend(held(job)),
            Created(at, "run_1", Evidence("created")),
            Settle(replace(at, state=JobState.RUNNING), state, status),
        )
    )
    again = store.claim(work.me, [Want(work.batch.id, None, 10)])
    assert [one.custom_id for one in again] == ["q-0002"]


def test_the_turn_stays_with_a_job_that_is_put_back_or_made_anew(store: Store) -> None:
    work = working(store, [line(1, thread="t"), line(2, thread="t")])
    job = work.jobs[0]
    at = replace(held(job), state=JobState.SUBMITTING, attempt=1)
    write(store, Intend(held(job)), Requeue(at, Evidence("refused"), 0))
    assert [j.custom_id for j in store.claim(work.me, [Want(work.batch.id, None, 9)])] == ["q-0001"]
    at = replace(at, state=JobState.QUEUED, token=at.token + 1)
    write(store, Settle(at, JobState.FAILED, "expired", again=True))
    assert [j.custom_id for j in store.claim(work.me, [Want(work.batch.id, None, 9)])] == ["q-0001"]


def test_a_line_queued_behind_an_open_job_waits_and_behind_one_at_rest_does_not(
    store: Store,
) -> None:
    work = working(store, [line(1, thread="t")])
    queue(store, work.batch, [line(1, thread="t"), line(2, thread="t")])
    assert store.claim(work.me, [Want(work.batch.id, None, 9)]) == []
    write(store, Settle(held(work.jobs[0]), JobState.FAILED, "rejected"))
    second = store.claim(work.me, [Want(work.batch.id, None, 9)])[0]
    write(store, Settle(held(second), JobState.FAILED, "rejected"))
    queue(store, work.batch, [line(1, thread="t"), line(2, thread="t"), line(3, thread="t")])
    third = store.claim(work.me, [Want(work.batch.id, None, 9)])
    assert [job.custom_id for job in third] == ["q-0003"]


def test_a_thread_made_for_a_job_alone_takes_no_turn(store: Store) -> None:
    work = working(store, [line(1), line(2, thread="t")])
    own, other = work.jobs
    assert write(store, Threaded(held(own), "t2"), Intend(held(own))) == [True, True]
    queue(store, work.batch, [line(3, thread="t2")], path="other.jsonl")
    found = store.claim(work.me, [Want(work.batch.id, None, 9)])
    assert [job.custom_id for job in found] == ["q-0003"]
    assert other.thread_id == "t"


def test_a_replaced_line_that_leaves_its_thread_passes_the_turn(store: Store) -> None:
    work = working(store, [line(1, thread="t"), line(2, thread="t")])
    changed = [line(1, thread="u", content="new"), line(2, thread="t")]
    assert queue(store, work.batch, changed, replace=True).replaced == 1
    found = store.claim(work.me, [Want(work.batch.id, None, 9)])
    assert [(job.custom_id, job.thread_id) for job in found] == [("q-0001", "u"), ("q-0002", "t")]


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.sampled_from(["t", "u", ""]), min_size=1, max_size=12),
    st.integers(0, 1_000_000),
)
def test_all_come_to_rest_one_at_a_time_a_thread_and_the_counts_stay_right(
    store: Store, threads: list[str], seed: int
) -> None:
    rng = random.Random(seed)
    name = f"b{len(store.batches())}"
    batch = begin(store, name)
    specs = [line(n + 1, thread=f"{name}-{t}" if t else None) for n, t in enumerate(threads)]
    queue(store, batch, specs[: rng.randint(0, len(specs))])
    me = store.enlist(batches="", version="t").id
    ended: list[str] = []
    while len(ended) < len(specs):
        jobs = store.claim(me, [Want(batch.id, None, rng.randint(1, 4))])
        busy = [job.thread_id for job in jobs if job.thread_id]
        assert len(busy) == len(set(busy))
        moves: list[Move] = []
        for job in jobs:
            at = replace(held(job), state=JobState.SUBMITTING, attempt=job.attempt + 1)
            run = replace(at, state=JobState.RUNNING)
            made = Created(at, f"run_{job.id}", Evidence("created"))
            end = rng.choice([*RESTS, None, None])
            moves.append(Intend(held(job)))
            if end is not None:
                moves += [made, Settle(run, *end)]
                ended.append(job.custom_id)
            elif rng.random() < 0.5:
                moves.append(Requeue(at, Evidence("refused")))
            else:
                moves += [made, Settle(run, JobState.FAILED, "expired", again=True)]
        assert all(write(store, *moves))
        if not jobs or rng.random() < 0.3:
            queue(store, batch, specs)
        assert tallied(store) == counted(store)
    for thread in ("t", "u"):
        of_thread = [f"q-{n + 1:04d}" for n, one in enumerate(threads) if one == thread]
        assert [one for one in ended if one in of_thread] == of_thread
    assert count(store, "SELECT COUNT(*) FROM job WHERE state < 3 OR blocked = 1") == 0
