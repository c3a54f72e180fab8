"""PostgreSQL keeps the hot statements prepared, where nothing stands between, and plans them anew."""

import re

import psycopg
import pytest
from sqlalchemy import Connection, text
from store_book import line, working
from store_ends import create, succeed

from runner.store import writer
from runner.store.pipeline import driver_of
from runner.store.store import Store

pytestmark = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


def prepared(store: Store) -> list[str]:
    """Return the statements that the writer's session keeps."""
    asked = text("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time")
    return store._write(lambda connection: list(connection.scalars(asked)))


def test_a_move_is_prepared_once_and_used_again(store: Store) -> None:
    work = working(store, [line(n) for n in range(1, 4)])
    for job in work.jobs:
        succeed(store, job)
    intents = [one for one in prepared(store) if re.match(r"UPDATE job .*first_intent_ms=", one)]
    assert len(intents) == 1


def test_what_is_prepared_is_forgotten_after_a_while_and_prepared_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = working(store, [line(1), line(2)])
    succeed(store, work.jobs[0])
    assert prepared(store)
    monkeypatch.setattr(writer, "PLANNED_S", 0.0)
    # Each transaction drops what the one before it had prepared.
    assert prepared(store) == []
    succeed(store, work.jobs[1])


def test_a_session_that_was_changed_unseen_costs_no_move(store: Store) -> None:
    work = working(store, [line(n) for n in range(1, 4)])
    succeed(store, work.jobs[0])
    # As a pooler does that hands its client another session; the driver hears nothing of it.
    unseen = text("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
    store._write(lambda connection: connection.execute(unseen))
    succeed(store, work.jobs[1])
    succeed(store, work.jobs[2])
    assert store.left([work.batch.id]).jobs == 0
    assert prepared(store) == []


def test_what_a_worker_does_to_a_job_that_it_holds_changes_no_index(store: Store) -> None:
    work = working(store, [line(n, thread=f"t{n}") for n in range(1, 6)])
    before = updates(store)
    for job in work.jobs:
        create(store, job)
    after = updates(store)
    assert (after[0] - before[0], after[1] - before[1]) == (10, 10)


def updates(store: Store) -> tuple[int, int]:
    """Return how many job rows were changed so far, and how many of them on their page alone."""
    # The server counts a transaction once it is over.
    store._write(lambda connection: connection.execute(text("SELECT pg_stat_force_next_flush()")))
    asked = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'job'")
    changed, alone = store._write(lambda connection: connection.execute(asked).one())
    return int(changed), int(alone)


def test_the_driver_prepares_only_what_it_is_asked_to(store: Store) -> None:
    def verb(connection: Connection) -> int:
        driver: psycopg.Connection = driver_of(connection)
        for _ in range(10):
            driver.execute("SELECT 'not asked'")
        return sum(
            "not asked" in str(row) for row in driver.execute("TABLE pg_prepared_statements")
        )

    assert store._write(verb) == 0
