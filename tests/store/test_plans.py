"""Whatever is asked while work goes on is answered from an index, at ten million jobs too.

The statements are heard as they are sent, on either engine, so that a new one is in the test by
itself; by its driver too, since the hot path sends them past SQLAlchemy. PostgreSQL is told that
its tables are large: it scans small ones whatever indexes they have.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.abc import Params, Query
from psycopg.rows import TupleRow
from sqlalchemy import Connection, Engine, event, text
from store_book import Working, begin, line, queue, write
from store_ends import HUNG_UP, create, fail, rest_in_doubt, sent, succeed

from runner.core.model import JobState
from runner.core.moves import Acted, Created, Doubt, Evidence, Intend, Postpone, Requeue, held
from runner.store.claim import Want
from runner.store.store import Store

LARGE = ("job", "body", "attempt", "outcome", "output")
TIMES = 5000
MOVES = (
    r"UPDATE job SET .*\bstate=1,.* first_intent_ms=",
    r"UPDATE job SET state=2, created_ms=",
    r"UPDATE job SET state=.*\bended_ms=.*\bstatus=.*\brun_id=coalesce\(",
    r"\s*INSERT INTO attempt ",
    r"\s*INSERT INTO outcome ",
)
"""Of the hot path: intended, created, ended, and what is kept of it."""
OWN_INDEX = {
    **dict.fromkeys(MOVES[:3], ("job_pkey",)),
    r"\s*SELECT id FROM job\b.*idle_state IN .* FOR UPDATE": ("job_adrift",),
    r"\s*UPDATE job j SET worker.* FROM lane l": ("job_ready", "job_pkey"),
    r"\s*UPDATE job j SET worker(?!.* FROM lane l).* idle_state = 0": ("job_ready", "job_pkey"),
}
"""The indexes by which PostgreSQL should find the jobs of a statement, and no other."""
KEPT: set[str] = set()
"""What PostgreSQL was asked to keep prepared, in all tests here."""
Parameters = Mapping[str, object] | Sequence[object]
Heard = dict[str, Parameters]


@contextmanager
def hearing(store: Store) -> Iterator[Heard]:
    """Collect each statement that is sent, with the parameters of one of its uses."""
    heard: Heard = {}

    def hear(
        _connection: object,
        _cursor: object,
        statement: str,
        parameters: Parameters,
        _context: object,
        many: bool,
    ) -> None:
        first = parameters[0] if many and isinstance(parameters, Sequence) else parameters
        assert isinstance(first, Mapping | Sequence)
        heard.setdefault(statement, first)

    def trace(connection: Connection, told: Callable[[str], object] | None) -> None:
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            driver.set_trace_callback(told)
        elif isinstance(driver, psycopg.Connection):
            driver.cursor_factory = psycopg.Cursor if told is None else Hearing

    class Hearing(psycopg.Cursor[TupleRow]):
        def execute(
            self,
            query: Query,
            params: Params | None = None,
            *,
            prepare: bool | None = None,
            binary: bool | None = None,
        ) -> Self:
            told = query.decode() if isinstance(query, bytes) else str(query)
            heard.setdefault(told, () if params is None else params)
            if prepare:
                KEPT.add(told)
            return super().execute(told.encode(), params, prepare=prepare, binary=binary)

    event.listen(Engine, "before_cursor_execute", hear)
    # With its values in it, each row of a statement is one of its own; the kinds are few.
    store._write(lambda connection: trace(connection, lambda sent: heard.setdefault(sent, ())))
    try:
        yield heard
    finally:
        store._write(lambda connection: trace(connection, None))
        event.remove(Engine, "before_cursor_execute", hear)


def filled(store: Store) -> Working:
    """2,000 jobs, some in every state and on threads, and a worker that holds 100."""
    specs = [line(n, thread=f"t{n // 10}" if n % 2 else None) for n in range(1, 2001)]
    batch = begin(store)
    queue(store, batch, specs)
    me = store.enlist(batches="nightly", version="test").id
    jobs = store.claim(me, [Want(batch.id, None, 400)])
    for job in jobs[:100]:
        succeed(store, job)
    for job in jobs[100:200]:
        fail(store, job)
    for job in jobs[200:300]:
        write(store, Acted(create(store, job), b'{"call_1": "42"}'))
    return Working(store, batch, me, jobs[300:])


def work_on(at: Working) -> None:
    """Do once all that is done again and again while jobs are carried."""
    store, me, ids = at.store, at.me, [at.batch.id]
    jobs = store.claim(me, [Want(at.batch.id, None, 20)])
    succeed(store, jobs[0])
    fail(store, jobs[1], again=True)
    rest_in_doubt(store, jobs[2])
    write(
        store, Intend(held(jobs[3])), Requeue(sent(jobs[3]), Evidence("refused"), 10, counted=True)
    )
    write(store, Postpone(held(jobs[4]), 10))
    write(store, Intend(held(jobs[5])), Doubt(sent(jobs[5]), HUNG_UP))
    write(store, Created(sent(jobs[5]), "run_found", Evidence("noted"), adopted=True))
    write(store, Intend(held(jobs[6])))
    store.noted(jobs[6].id, 1)
    store.known_runs(jobs[6].id)
    store.outputs(jobs[6].id, 1)
    store.beat(me, 5)
    store.held_by(me)
    store.asked(me)
    store.lanes(at.batch.id)
    store.next_due_ms(ids)
    store.left(ids, me)
    store.progress(at.batch.id, brief=True)
    store.give_back(me, [(jobs[7].id, jobs[7].token)])
    other = store.enlist(batches="nightly", version="test").id
    store.claim(other, [Want(at.batch.id, None, 5)])
    store._write(
        lambda c: c.execute(text("UPDATE worker SET clock_beat_ms = 0 WHERE id = :i"), {"i": other})
    )
    store.take_over(me)
    store.claim_adrift(me, ids, 100)
    store.cancel(at.batch.id, only=frozenset({jobs[8].custom_id, "q-1990"}))
    store.retry(at.batch.id, only=frozenset({jobs[1].custom_id}))
    # A chunk of new lines, then one whose lines are looked for first.
    queue(store, at.batch, [line(n) for n in range(2001, 2101)], path="more.jsonl")
    queue(store, at.batch, [line(n) for n in range(2050, 2150)], path="more.jsonl")


def test_nothing_that_work_asks_scans_the_jobs(store: Store) -> None:
    at = filled(store)
    with hearing(store) as heard:
        work_on(at)
    for move in MOVES:
        assert any(re.match(move, sent) for sent in heard), move
    plans = store._write(lambda connection: planned(connection, heard, as_large))
    scans = {statement: plan for statement, plan in plans.items() if scanned(plan)}
    assert scans == {}, "\n".join(f"{s}\n{p}" for s, p in scans.items())
    for index in ("job_ready", "job_later", "job_adrift", "job_worker"):
        assert any(index in plan for plan in plans.values()), index


def test_nothing_that_reads_a_whole_batch_scans_it_for_each_page(store: Store) -> None:
    batch = begin(store)
    # Lines as far apart as the rows are fewer than the planner is told.
    specs = [line(n) for n in range(1, 1001)]
    queue(store, batch, [replace(spec, line=spec.line * TIMES) for spec in specs])
    me = store.enlist(batches="nightly", version="test").id
    for job in store.claim(me, [Want(batch.id, None, 50)]):
        succeed(store, job)
    with hearing(store) as heard:
        list(store.outcomes(batch.id, at_rest_only=False))
        list(store.outcomes(batch.id, states=frozenset({JobState.CANCELLED})))
        list(store.outcomes(batch.id, statuses=frozenset({"rejected"})))
        (first, _), *_others = store.settled_since(batch.id, (0, 0))
        list(store.settled_since(batch.id, first))
    assert sum("LEFT JOIN outcome" in sent for sent in heard) >= 3
    plans = store._write(lambda connection: planned(connection, heard, as_large))
    scans = {statement: plan for statement, plan in plans.items() if scanned(plan)}
    assert scans == {}, "\n".join(f"{s}\n{p}" for s, p in scans.items())


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_jobs_are_found_by_the_right_index_where_all_waited_when_they_were_counted(
    store: Store,
) -> None:
    batch = begin(store)
    queue(store, batch, [line(n) for n in range(1, 2001)])
    # All can be claimed and nobody holds one: to the planner the primary key in its order is as
    # good as job_ready, whatever comes to rest at its front, and job_worker is empty.
    store._write(lambda connection: connection.execute(text("ANALYZE job")))
    me = store.enlist(batches="nightly", version="test").id
    with hearing(store) as heard:
        for job in store.claim(me, [Want(batch.id, None, 20)]):
            succeed(store, job)
        assert len(store.claim(me, [Want(batch.id, 0, 20)])) == 20
        store.claim_adrift(me, [batch.id], 20)
    plans = store._write(lambda connection: planned(connection, heard, lambda _connection: None))
    for pattern, indexes in OWN_INDEX.items():
        found = [plan for sent, plan in plans.items() if re.match(pattern, sent, re.DOTALL)]
        assert found, pattern
        for plan in found:
            assert tuple(re.findall(r"using (job_\w+) on job\b", plan)) == indexes, plan


def as_large(connection: Connection) -> None:
    """Let PostgreSQL count the rows, and tell it that there are many more."""
    if connection.dialect.name != "postgresql":
        return
    for table in LARGE:
        connection.exec_driver_sql(f"ANALYZE {table}")
    # The planner takes the rows for a page from here, and the pages from the file.
    connection.execute(
        text(
            "UPDATE pg_class SET reltuples = reltuples * :times WHERE oid IN"
            " (SELECT indexrelid FROM pg_index WHERE indrelid::regclass::text = ANY(:large)"
            " UNION SELECT indrelid FROM pg_index WHERE indrelid::regclass::text = ANY(:large))"
        ),
        {"times": TIMES, "large": list(LARGE)},
    )


def planned(
    connection: Connection, heard: Heard, prepare: Callable[[Connection], None]
) -> dict[str, str]:
    """Return the plan of each heard statement, in tables made ready by `prepare`."""
    postgresql = connection.dialect.name == "postgresql"
    prepare(connection)
    prefix = "EXPLAIN" if postgresql else "EXPLAIN QUERY PLAN"
    plans: dict[str, str] = {}
    for statement, parameters in heard.items():
        kind = statement.split(maxsplit=1)[0].upper()
        if kind not in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}:
            continue
        found = connection.exec_driver_sql(f"{prefix} {statement}", parameters or ())
        plans[statement] = "\n".join(str(row[-1]) for row in found)
        if postgresql and statement in KEPT:
            plans[f"{statement} -- as it is kept"] = planned_once(connection, statement)
    if postgresql:
        connection.execute(text("ANALYZE job"))
    return plans


def planned_once(connection: Connection, statement: str) -> str:
    """Return the plan that a prepared statement has for whatever values."""
    names: list[str] = []

    def numbered(found: re.Match[str]) -> str:
        name = found[1] or f"place {len(names)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    text_ = re.sub(r"%(?:\((\w+)\))?s", numbered, statement)
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    connection.exec_driver_sql(f"PREPARE kept AS {text_}")
    values = f"({', '.join(['NULL'] * len(names))})" if names else ""
    found = connection.exec_driver_sql(f"EXPLAIN EXECUTE kept{values}")
    plan = "\n".join(str(row[-1]) for row in found)
    connection.exec_driver_sql("DEALLOCATE kept")
    return plan


def scanned(plan: str) -> bool:
    tables = "|".join(LARGE)
    return bool(
        re.search(rf"Seq Scan on ({tables})\b|^SCAN ({tables})\b(?! USING)", plan, re.MULTILINE)
    )
