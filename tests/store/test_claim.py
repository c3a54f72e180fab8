"""A claim takes what may be taken, once, by the index, and under a good lease alone."""

import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from forked import PIPE, Forked
from sqlalchemy import Connection, text
from sqlalchemy.sql.elements import TextClause
from store_book import begin, count, line, queue, rows, working, write

from runner.core.errors import LeaseLost
from runner.core.model import JobState
from runner.core.moves import Evidence, Intend, Postpone, Requeue, Settle, held
from runner.store import claim, leases, turns
from runner.store.claim import Want
from runner.store.store import Store

CHILD = """
import json, sys
from runner.store.claim import Want
from runner.store.store import Store

store = Store.open(sys.argv[1])
me = store.enlist(batches="", version="t").id
print("ready", flush=True)
sys.stdin.readline()
ids = []
while jobs := store.claim(me, [Want(1, None, 7)]):
    ids += [job.id for job in jobs]
print(json.dumps(ids), flush=True)
sys.stdin.readline()
"""


def test_two_processes_that_claim_at_once_share_the_jobs_and_none_is_taken_twice(
    store_url: str, open_store: Callable[[], Store]
) -> None:
    store = open_store()
    queue(store, begin(store), [line(number) for number in range(1, 401)])
    children = [Forked("", store_url, source=CHILD, stdin=PIPE, stdout=PIPE) for _ in range(2)]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        taken = [json.loads(child.stdout.readline()) for child in children if child.stdout]
    finally:
        for child in children:
            child.communicate("end\n", timeout=30)
    assert sorted(taken[0] + taken[1]) == list(range(1, 401))
    assert count(store, "SELECT COUNT(DISTINCT worker) FROM job") == sum(map(bool, taken))


def test_a_claim_takes_the_oldest_of_a_lane_or_of_all(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(n, lane="even" if n % 2 == 0 else "odd") for n in range(1, 11)])
    me = store.enlist(batches="", version="t").id
    odd = store.claim(me, [Want(batch.id, 0, 2), Want(batch.id, 0, 1)])
    assert [job.custom_id for job in odd] == ["q-0001", "q-0003", "q-0005"]
    rest = store.claim(me, [Want(batch.id, None, 3)])
    assert [job.custom_id for job in rest] == ["q-0002", "q-0004", "q-0006"]
    assert store.held_by(me) == [(job.id, 1) for job in sorted(odd + rest, key=lambda j: j.id)]
    left = store.left([batch.id], "another")
    assert (left.queued, left.jobs, left.held_by_others) == (10, 10, 6)


def test_a_delayed_job_comes_when_it_is_due(store: Store) -> None:
    work = working(store, [line(1), line(2)])
    first, second = work.jobs
    write(store, Postpone(held(first), 60_000), Postpone(held(second), 1))
    due_ms = store.next_due_ms([work.batch.id])
    assert due_ms is not None
    while store.now_ms() < due_ms:
        pass
    again = store.claim(work.me, [Want(work.batch.id, None, 10)])
    assert [job.id for job in again] == [second.id]
    later_ms = store.next_due_ms([work.batch.id])
    assert later_ms is not None
    assert later_ms > store.now_ms()


def test_a_worker_that_was_taken_over_claims_nothing(store: Store) -> None:
    work = working(store, [line(1), line(2)])
    store._write(lambda c: c.execute(text("UPDATE worker SET taken = 1")))
    with pytest.raises(LeaseLost):
        store.claim(work.me, [Want(work.batch.id, None, 1)])
    with pytest.raises(LeaseLost):
        store.claim_adrift(work.me, [work.batch.id], 1)
    with pytest.raises(LeaseLost):
        store.claim("nobody", [Want(work.batch.id, None, 1)])


def test_the_key_is_the_generations_and_the_bytes_are_as_they_came(store: Store) -> None:
    work = working(store, [line(1)])
    job = work.jobs[0]
    assert job.body == line(1).body
    write(store, Intend(held(job)))
    at = held(job)
    at = type(at)(job.id, job.batch_id, 1, 1, JobState.SUBMITTING, job.token)
    write(store, Requeue(at, Evidence("refused"), 0))
    again = store.claim(work.me, [Want(work.batch.id, None, 1)])[0]
    assert (again.key, again.body, again.token) == (job.key, job.body, job.token + 1)


PLANS: list[tuple[str, TextClause, dict[str, int | str], str]] = [
    ("ready", claim.READY, {"batch_id": 1, "lane": 0, "most": 100}, "job_ready"),
    ("due", claim.DUE, {"batch_id": 1, "now_ms": 99, "most": 100}, "job_later"),
    ("next due", claim.NEXT_DUE, {"batch_id": 1}, "job_later"),
    ("adrift", claim.ADRIFT, {"batch_id": 1, "most": 100}, "job_adrift"),
    ("held", claim.HELD, {"me": "x"}, "job_worker"),
    ("of a worker", leases.OF_WORKER, {"id": "x", "most": 100}, "job_worker"),
    ("grant", turns.GRANT, {"id": 1}, "job_next"),
    ("busy", turns.BUSY, {"origin": 1, "threads": '["t1", "t2"]'}, "job_turn"),
]
ON_POSTGRESQL = {"adrift": claim.ADRIFT_LOCKED}
"""What is asked there instead; what is claimed and woken there, test_plans hears."""


def fill(store: Store) -> None:
    specs = [line(n, thread=f"t{n // 10}" if n % 2 else None) for n in range(1, 2001)]
    batch = begin(store)
    queue(store, batch, specs)
    me = store.enlist(batches="", version="t").id
    jobs = store.claim(me, [Want(batch.id, None, 500)])
    ends = [Settle(held(job), JobState.FAILED, "rejected") for job in jobs[:300]]
    assert all(write(store, *ends, *(Postpone(held(job), 9_000) for job in jobs[300:400])))


def explained(connection: Connection, statement: TextClause, binds: dict[str, int | str]) -> str:
    prefix = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    found = connection.execute(text(f"{prefix} {statement.text}"), binds)
    return "\n".join(str(row[-1]) for row in found)


def test_the_hot_statements_use_their_index_and_never_scan(store: Store) -> None:
    fill(store)
    sqlite = store.engine_name == "sqlite"
    if not sqlite:
        # A table of 2,000 rows is scanned sooner than looked up; at ten million it is not.
        store._write(lambda c: c.execute(text("ANALYZE job")))
    for name, statement, binds, index in PLANS:
        if not sqlite and name in {"busy", "ready", "due"}:
            continue
        asked = statement if sqlite else ON_POSTGRESQL.get(name, statement)
        plan = store._write(partial(in_large, asked, binds))
        assert index in plan, (name, plan)
        assert "SCAN job\n" not in f"{plan}\n", (name, plan)
        assert "Seq Scan on job" not in plan, (name, plan)
        assert "TEMP B-TREE" not in plan, (name, plan)
        if index in {"job_ready", "job_later", "job_next"}:
            assert "Sort" not in plan, (name, plan)


def in_large(statement: TextClause, binds: dict[str, int | str], connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
    return explained(connection, statement, binds)


def test_a_claim_says_nothing_of_batches_that_it_was_not_asked_for(store: Store) -> None:
    one, two = begin(store, "one"), begin(store, "two")
    queue(store, one, [line(1)])
    queue(store, two, [line(1)])
    me = store.enlist(batches="", version="t").id
    wants: Sequence[Want] = [Want(two.id, None, 5)]
    assert [job.batch_id for job in store.claim(me, wants)] == [two.id]
    assert rows(store, "SELECT batch_id FROM job WHERE worker IS NULL") == [(one.id,)]
