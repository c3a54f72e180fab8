"""Lines become jobs once each, whatever was queued before and wherever a pass was killed."""

import pytest
from forked import PIPE, Forked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_book import begin, count, counted, line, queue, rows, tallied, working, write

from runner.core.batch import Conflict, Queued
from runner.core.errors import UsageError
from runner.core.model import JobState
from runner.core.moves import Intend, Settle, held
from runner.store.claim import Want
from runner.store.store import Store

CHILD = """
import os, signal, sys
from store_book import begin, line, queue
from runner.core.points import Point
from runner.store.store import Store

left = int(sys.argv[3])

def reach(point):
    global left
    if point == sys.argv[2]:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

store = Store.open(sys.argv[1], reach=reach)
queue(store, begin(store), [line(number) for number in range(1, 1501)])
"""


def test_lines_are_queued_once(store: Store) -> None:
    batch = begin(store)
    specs = [line(number) for number in range(1, 2501)]
    assert queue(store, batch, specs, identity="i1") == Queued(new=2500)
    assert queue(store, batch, specs, identity="i1") == Queued(known=2500)
    assert count(store, "SELECT COUNT(*) FROM body") == 2500
    assert tallied(store) == counted(store) == {(batch.id, 0, ""): 2500}


def test_an_unchanged_manifest_is_skipped(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(1), line(2)], identity="size-and-time")
    skip = store.queueing(batch, "m.jsonl", replace=False).skip
    assert skip("size-and-time") == Queued(known=2, unchanged=True)
    assert skip("another") is None
    assert skip(None) is None
    queueing = store.queueing(batch, "m.jsonl", replace=False)
    queueing.add([line(3)], 5)
    assert store.queueing(batch, "m.jsonl", replace=False).skip("size-and-time") is None


def test_a_manifest_with_faults_is_read_again(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(1), line(2, "q-0001")], identity="i1")
    assert store.queueing(batch, "m.jsonl", replace=False).skip("i1") is None


@pytest.mark.parametrize("point", ["queue_before_commit", "queue_after_commit"])
@pytest.mark.parametrize("chunk", [1, 2])
def test_a_kill_while_queueing_leaves_whole_chunks_and_the_next_pass_goes_on(
    store_url: str, point: str, chunk: int
) -> None:
    killed = Forked("", store_url, point, chunk, source=CHILD, stderr=PIPE)
    _, said = killed.communicate(timeout=60)
    assert killed.returncode == -9, said
    store = Store.open(store_url)
    try:
        whole = min(1500, 1000 * (chunk - 1 if point == "queue_before_commit" else chunk))
        assert count(store, "SELECT COUNT(*) FROM job") == whole
        batch = begin(store)
        done = queue(store, batch, [line(number) for number in range(1, 1501)])
        assert done == Queued(new=1500 - whole, known=whole)
        assert count(store, "SELECT COUNT(*) FROM body") == 1500
        assert tallied(store) == counted(store)
    finally:
        store.close()


def test_another_content_is_a_conflict_and_changes_nothing(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(1), line(2)])
    queueing = store.queueing(batch, "other.jsonl", replace=False)
    added = queueing.add([line(7, "q-0002", content="changed"), line(8)], 6)
    assert added.conflicts == (Conflict("q-0002", 7, "m.jsonl", 2),)
    assert (added.new, added.known) == (1, 0)
    assert queueing.finish(None, 2, 0).faulty
    body = rows(
        store, "SELECT body FROM body b JOIN job j ON j.id = b.job_id WHERE custom_id = 'q-0002'"
    )
    assert body == [(line(2).body,)]


def test_one_name_twice_in_a_manifest_is_known_or_a_conflict(store: Store) -> None:
    batch = begin(store)
    queueing = store.queueing(batch, "m.jsonl", replace=True)
    added = queueing.add(
        [line(1, "a"), line(2, "a", content="line 1"), line(3, "a"), line(4, "b")], 6
    )
    assert (added.new, added.known) == (2, 1)
    assert added.conflicts == (Conflict("a", 3, "m.jsonl", 1),)
    assert queueing.add([line(5, "b")], 6).conflicts == (Conflict("b", 5, "m.jsonl", 4),)


def test_replace_gives_a_job_at_rest_its_next_generation(store: Store) -> None:
    work = working(store, [line(1), line(2), line(3)])
    first, second, _ = work.jobs
    assert all(write(store, Settle(held(first), JobState.FAILED, "rejected"), Intend(held(second))))
    changed = [line(number, f"q-{number:04d}", content=f"new {number}") for number in (1, 2, 3)]
    done = queue(store, work.batch, changed, replace=True)
    assert (done.replaced, done.conflicts, done.known) == (2, 1, 0)
    again = store.claim(work.me, [Want(work.batch.id, None, 10)])
    found = [(job.custom_id, job.generation, job.body) for job in again]
    assert found == [("q-0001", 2, changed[0].body), ("q-0003", 1, changed[2].body)]
    # Who still carried the old body of the third holds it no more.
    assert write(store, Intend(held(work.jobs[2]))) == [False]
    assert rows(store, "SELECT generation, status FROM outcome") == [(1, "rejected")]
    assert tallied(store) == counted(store)


def test_equal_lines_without_a_name_are_told_apart_by_their_occurrence(store: Store) -> None:
    batch = begin(store)

    before = [line(1, None, content="x"), line(2, None, content="y"), line(3, None, content="x")]
    assert queue(store, batch, before).new == 3
    names = [row[0] for row in rows(store, "SELECT custom_id FROM job ORDER BY id")]
    assert names[0] == f"auto-{before[0].digest.hex()[:20]}"
    assert names[2] == f"auto-{before[0].digest.hex()[:20]}-2"
    inserted = [
        line(1, None, content="z"),
        line(2, None, content="y"),
        line(3, None, content="x"),
        line(4, None, content="x"),
    ]
    assert queue(store, batch, inserted) == Queued(new=1, known=3)
    in_order = rows(store, "SELECT custom_id FROM job ORDER BY line, id")
    assert [row[0] for row in in_order][1:] == [names[1], names[0], names[2]]


def test_lines_that_are_gone_are_counted_and_the_first_are_named(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(number) for number in range(1, 1501)])
    kept = [line(number) for number in range(1, 1501) if number % 2 == 0]
    done = queue(store, batch, kept)
    assert (done.known, done.vanished) == (750, 750)
    assert done.vanished_names == ("q-0001", "q-0003", "q-0005", "q-0007", "q-0009")


def test_lanes_past_sixty_four_share(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(number, lane=f"asst_{number}") for number in range(1, 101)])
    assert count(store, "SELECT COUNT(*) FROM lane") == 64
    assert count(store, "SELECT MAX(lane) FROM job") == 63
    me = store.enlist(batches="", version="t").id
    assert len(store.claim(me, [Want(batch.id, None, 200)])) == 100


def test_a_batch_keeps_its_dialect_and_base_url(store: Store) -> None:
    batch = begin(store)
    assert begin(store) == batch == store.batch("nightly")
    with pytest.raises(UsageError, match="batch nightly: began with base URL"):
        store.begin(
            "nightly", dialect="openai", base_url="http://127.0.0.1:8", options={}, weight=1,
            tag="", made_ms=1,
        )  # fmt: skip
    store.set_batch(batch.id, weight=3, stopped="by a person", look_first=True, queued_whole=True)
    found = store.batches()[0]
    assert (found.weight, found.stopped, found.look_first) == (3, "by a person", True)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=12), min_size=1, max_size=3))
def test_however_lines_are_shuffled_no_job_comes_twice_or_goes(
    store: Store, passes: list[list[str]]
) -> None:
    batch = begin(store, f"b{len(store.batches())}")
    most: dict[str, int] = {}
    for contents in passes:
        queue(store, batch, [line(n + 1, None, content=c) for n, c in enumerate(contents)])
        for content in set(contents):
            most[content] = max(most.get(content, 0), contents.count(content))
    sql = "SELECT COUNT(*) FROM job WHERE batch_id = :batch_id"
    assert count(store, sql, batch_id=batch.id) == sum(most.values())
