"""Outcomes come in manifest order, byte for byte, from chunks of any size."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection
from store_book import begin, line, queue, working, write
from store_ends import OOPS, USAGE, create, fail, rest_in_doubt, succeed

from runner.core.model import JobState
from runner.core.moves import Settle
from runner.core.outcome import Cause
from runner.store import outcomes
from runner.store.claim import Want
from runner.store.store import Store


def test_an_outcome_is_what_came_byte_for_byte(store: Store) -> None:
    at = working(store, [line(1), line(2), line(3)])
    succeed(store, at.jobs[0], doubles=("run_double",))
    fail(store, at.jobs[1])
    good, bad = store.outcomes(at.batch.id)
    assert good.run == b'{"id": "run_q-0001_1", "n": 1.10}'
    assert good.usage == USAGE
    assert good.output_text == "done"
    assert good.doubles == ("run_double",)
    assert good.idempotency_key == at.jobs[0].key
    assert (good.state, good.status, good.error) == (JobState.SUCCEEDED, "completed", None)
    assert (good.attempts, good.generation, good.line) == (1, 1, 1)
    assert 0 < good.created_ms <= good.ended_ms
    assert bad.error == Cause(None, "server_error", OOPS.message, None, None)


def test_a_job_on_its_way_is_shown_only_where_it_is_asked_for(store: Store) -> None:
    at = working(store, [line(1), line(2)])
    succeed(store, at.jobs[0])
    create(store, at.jobs[1])
    assert [one.custom_id for one in store.outcomes(at.batch.id)] == ["q-0001"]
    _, way = store.outcomes(at.batch.id, at_rest_only=False)
    assert (way.state, way.status, way.run_id) == (JobState.RUNNING, None, "run_q-0002_1")


def test_earlier_runs_stand_in_the_order_of_their_generations(store: Store) -> None:
    at = working(store, [line(1)])
    fail(store, at.jobs[0], again=True)
    (job,) = store.claim(at.me, [Want(at.batch.id, None, 1)])
    succeed(store, job)
    (outcome,) = store.outcomes(at.batch.id)
    assert outcome.generation == 2
    assert outcome.earlier_runs == (b'{"status": "failed"}',)
    assert outcome.run_id == "run_q-0001_2"


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_the_order_is_the_manifests_whatever_the_chunks(
    store: Store, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "FIRST_CHUNK", most)
    monkeypatch.setattr(outcomes, "CHUNK", most)
    batch = begin(store)
    queue(store, batch, [line(n) for n in (9, 2, 5)], path="a.jsonl")
    queue(store, batch, [line(n) for n in (8, 1, 7, 3)], path="b.jsonl")
    names = [one.custom_id for one in store.outcomes(batch.id, at_rest_only=False)]
    assert names == ["q-0002", "q-0005", "q-0009", "q-0001", "q-0003", "q-0007", "q-0008"]


def test_jobs_of_one_line_are_all_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was edited made a second job: both stand at that line."""
    monkeypatch.setattr(outcomes, "FIRST_CHUNK", 1)
    batch = begin(store)
    queue(store, batch, [line(1, "before")])
    queue(store, batch, [line(1, "after")])
    names = [one.custom_id for one in store.outcomes(batch.id, at_rest_only=False)]
    assert names == ["before", "after"]


def test_outcomes_are_chosen_by_state_and_by_status(store: Store) -> None:
    at = working(store, [line(n) for n in range(1, 5)])
    succeed(store, at.jobs[0])
    fail(store, at.jobs[1])
    rest_in_doubt(store, at.jobs[2])
    at_failed = store.outcomes(at.batch.id, states=frozenset({JobState.FAILED}))
    assert [one.custom_id for one in at_failed] == ["q-0002", "q-0003"]
    in_doubt = store.outcomes(at.batch.id, statuses=frozenset({"in_doubt", "completed"}))
    assert [one.custom_id for one in in_doubt] == ["q-0001", "q-0003"]
    on_their_way = store.outcomes(at.batch.id, states=frozenset({JobState.QUEUED}))
    assert list(on_their_way) == [], "at rest only"


def test_large_runs_are_read_in_small_chunks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "FIRST_CHUNK", 4)
    monkeypatch.setattr(outcomes, "CHUNK_BYTES", 50_000)
    monkeypatch.setattr(outcomes, "LEAST", 1)
    at = working(store, [line(n) for n in range(1, 10)])
    for job in at.jobs:
        end = create(store, job)
        run = b'{"x": "' + b"x" * 30_000 + b'"}'
        write(store, Settle(end, JobState.SUCCEEDED, "completed", run=run))
    asked: list[int] = []
    read = store._read

    def watched(verb: Callable[[Connection], outcomes.Page]) -> outcomes.Page:
        found = read(verb)
        asked.append(len(found.outcomes))
        return found

    monkeypatch.setattr(store, "_read", watched)
    assert len(list(store.outcomes(at.batch.id))) == 9
    assert asked[0] == 4
    assert set(asked[1:]) <= {0, 1}


def test_jobs_that_have_ended_are_followed_by_a_cursor(store: Store) -> None:
    at = working(store, [line(n) for n in range(1, 5)])
    for job in (at.jobs[2], at.jobs[0]):
        succeed(store, job)
    seen = list(store.settled_since(at.batch.id))
    assert sorted(one.custom_id for _, one in seen) == ["q-0001", "q-0003"]
    cursor = seen[-1][0]
    assert list(store.settled_since(at.batch.id, cursor)) == []
    succeed(store, at.jobs[1])
    ((_, more),) = store.settled_since(at.batch.id, cursor)
    assert more.custom_id == "q-0002"
