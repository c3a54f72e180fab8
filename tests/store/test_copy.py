"""A copy says what the source said, may be stopped anywhere, and is not taken for the original."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from store_book import begin, counted, line, queue, rows, tallied, working, write
from store_ends import create, fail, rest_in_doubt, succeed

from runner.core.errors import UsageError
from runner.core.model import JobState
from runner.core.moves import Intend, held
from runner.store import copy
from runner.store.claim import Want
from runner.store.copy import Copied, copy_database
from runner.store.store import Store


@pytest.fixture
def other(ready_file: Path, tmp_path: Path) -> Iterator[Store]:
    """A SQLite database beside the engine under test, so that each way is gone."""
    store = Store.open(str(shutil.copy(ready_file, tmp_path / "other.db")))
    yield store
    store.close()


def filled(store: Store) -> None:
    """Jobs in every state, two threads' turns, two generations, and a worker that has left."""
    specs = [line(n, thread=f"thread_{n % 2}" if n > 6 else None, lane="m") for n in range(1, 12)]
    at = working(store, specs)
    succeed(store, at.jobs[0], doubles=("run_double",))
    fail(store, at.jobs[1])
    rest_in_doubt(store, at.jobs[2])
    create(store, at.jobs[3])
    write(store, Intend(held(at.jobs[4])))
    fail(store, at.jobs[5], again=True)
    store.retire(at.me)


def shown(store: Store) -> list[object]:
    batch = store.batch("nightly")
    assert batch is not None
    return [*store.outcomes(batch.id, at_rest_only=False), store.sources(batch.id)]


@pytest.mark.parametrize("forth", [True, False])
def test_a_copy_says_all_that_the_source_said(store: Store, other: Store, forth: bool) -> None:
    source, target = (store, other) if forth else (other, store)
    filled(source)
    queue(target, begin(target, "before"), [line(1), line(2)])
    seen: list[tuple[int, int]] = []
    copied = copy_database(source, target, "nightly", lambda *at: seen.append(at))
    assert copied == Copied(1, 11)
    assert seen[0] == (0, 11)
    assert seen[-1] == (11, 11)
    assert shown(target) == shown(source)
    assert target.check() == []
    assert tallied(target) == counted(target)
    before, after = source.batch("nightly"), target.batch("nightly")
    assert before is not None
    assert after is not None
    assert (after.uid, after.look_first, before.look_first) == (before.uid, True, False)
    old, new = source.progress(before.id), target.progress(after.id)
    assert (new.counts, new.causes, new.tokens) == (old.counts, old.causes, old.tokens)


def test_what_was_under_way_is_in_doubt_by_the_targets_clock(store: Store, other: Store) -> None:
    at = working(other, [line(1), line(2)])
    write(other, Intend(held(at.jobs[0])))
    # Its worker was killed: nobody has closed the attempt.
    other.writing(lambda c: c.execute(text("DELETE FROM worker")).rowcount)
    copy_database(other, store, None, lambda _done, _total: None)
    me = store.enlist(batches="nightly", version="test").id
    batch = store.batch("nightly")
    assert batch is not None
    (job,) = store.claim_adrift(me, [batch.id], 5)
    assert (job.state, job.doubted, job.presumed) == (JobState.SUBMITTING, True, True)
    assert 0 < job.closed_ms <= store.now_ms()
    assert [one.custom_id for one in store.claim(me, [Want(batch.id, None, 5)])] == ["q-0002"]


def test_a_copy_that_was_stopped_goes_on_where_it_was(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "FIRST_CHUNK", 3)
    monkeypatch.setattr(copy, "MOST", 3)
    filled(other)

    def stop_at_six(done: int, _total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_database(other, store, None, stop_at_six)
    assert rows(store, "SELECT COUNT(*) FROM job") == [(6,)]
    assert copy_database(other, store, None, lambda *_at: None) == Copied(1, 11, known=6)
    assert shown(store) == shown(other)
    assert copy_database(other, store, None, lambda *_at: None) == Copied(1, 11, known=11)


def test_a_difference_is_told(store: Store, other: Store) -> None:
    filled(other)
    copy_database(other, store, None, lambda *_at: None)
    store.writing(lambda c: c.execute(text("UPDATE body SET body = extra")).rowcount)
    with pytest.raises(UsageError, match="batch nightly differs"):
        copy_database(other, store, None, lambda *_at: None)


def test_another_batch_of_that_name_is_left_alone(store: Store, other: Store) -> None:
    filled(other)
    queue(store, begin(store), [line(1)])
    with pytest.raises(UsageError, match="another batch named nightly"):
        copy_database(other, store, None, lambda *_at: None)
    assert rows(store, "SELECT COUNT(*) FROM job") == [(1,)]


def test_nothing_is_copied_while_a_worker_lives(store: Store, other: Store) -> None:
    begin(other)
    store.enlist(batches="nightly", version="test")
    with pytest.raises(UsageError, match="is at work"):
        copy_database(other, store, None, lambda *_at: None)


def test_a_batch_that_is_not_there_is_told_with_those_that_are(
    store: Store, open_store: Callable[[], Store]
) -> None:
    begin(store)
    with pytest.raises(UsageError, match="name one of: nightly"):
        copy_database(store, open_store(), "weekly", lambda *_at: None)


def test_a_thread_that_is_busy_in_the_target_is_waited_for(store: Store, other: Store) -> None:
    queue(other, begin(other), [line(1, thread="thread_1")])
    queue(store, begin(store, "before"), [line(9, thread="thread_1")])
    copy_database(other, store, None, lambda *_at: None)
    me = store.enlist(batches="", version="test").id
    wants = [Want(batch.id, None, 5) for batch in store.batches()]
    (job,) = store.claim(me, wants)
    assert job.custom_id == "q-0009"
    succeed(store, job)
    assert [one.custom_id for one in store.claim(me, wants)] == ["q-0001"]
