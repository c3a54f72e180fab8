"""PostgreSQL's side of the hot path: rows as arrays, and statements sent without waiting."""

import select
from collections.abc import Iterator

import psycopg
import pytest
from postgres_server import PostgresServer
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DataError, OperationalError

from runner.store.pipeline import begin, begin_in_pipeline, begun, driver_of, pipelined, send
from runner.store.prepared import array


@pytest.fixture
def connection(postgres_server: PostgresServer) -> Iterator[Connection]:
    """A connection as the writer has it, in a database without tables."""
    url = postgres_server.fresh().replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, connect_args={"prepare_threshold": None})
    with engine.connect() as made:
        yield made.execution_options(isolation_level="AUTOCOMMIT")
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("h_id", "bigint", [0, -1, 2**62, None]),
        ("status", "text", ["", "NULL", 'a "quote"', "a\\b\\\\", "{x,y}", " é\n\t'$1", None]),
        ("run", "bytea", [b"", b"\x00\xff", b'{"id": "run_1"}\\', None]),
    ],
)
def test_every_value_comes_out_of_an_array_as_it_went_in(
    connection: Connection, name: str, kind: str, values: list[int | str | bytes | None]
) -> None:
    answer = send(connection, f"SELECT unnest(%s::{kind}[])", (array(name, values),))
    assert [row[0] for row in answer.fetchall()] == values


def test_answers_are_under_way_until_they_arrive(connection: Connection) -> None:
    with connection.begin():
        assert begin(connection, "SELECT 'first'") == "first"
        with pipelined(connection):
            made = send(connection, "CREATE TEMP TABLE t AS SELECT generate_series(1, 3) AS n", ())
            changed = send(connection, "UPDATE t SET n = n + %s WHERE n > %s", (1, 1))
            assert changed.rowcount < 0
            last = send(connection, "SELECT sum(n) FROM t", ())
        assert (made.rowcount, changed.rowcount) == (3, 2)
        assert last.fetchall() == [(8,)]


def test_a_transaction_begins_with_the_pipeline_and_keeps_the_answer(
    connection: Connection,
) -> None:
    send(connection, "CREATE TABLE t (n int)", ())
    for kept in (False, True):
        transaction = connection.begin()
        begin_in_pipeline(connection, "SELECT pg_current_xact_id()::text")
        with pipelined(connection):
            send(connection, "INSERT INTO t VALUES (%s)", (1,))
            own = send(connection, "SELECT pg_current_xact_id()::text", ())
        assert begun(connection) == own.fetchall()[0][0]
        if kept:
            transaction.commit()
        else:
            transaction.rollback()
    assert send(connection, "SELECT n FROM t", ()).fetchall() == [(1,)]


def test_the_failure_that_is_told_is_the_first_and_nothing_behind_it_has_run(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    send(connection, "CREATE TABLE t (n int)", ())
    transaction = connection.begin()
    begin(connection, "SELECT 1")
    with pytest.raises(DataError), pipelined(connection):  # noqa: PT012 - wherever it is told
        send(connection, "SELECT 1 / %s", (0,))
        # Its failure has come when the next is sent.
        select.select([driver_of(connection)], [], [], 10)
        send(connection, "INSERT INTO t VALUES (%s)", (1,))
        send(connection, "INSERT INTO t VALUES (%s)", (2,))
    transaction.rollback()
    assert not caplog.records
    with connection.begin():
        begin(connection, "SELECT 1")
        assert send(connection, "SELECT n FROM t", ()).fetchall() == []


def test_a_server_that_goes_away_in_a_pipeline_is_told_as_lost(
    connection: Connection, postgres_server: PostgresServer
) -> None:
    database = connection.engine.url.database
    transaction = connection.begin()
    number = begin(connection, "SELECT pg_backend_pid()")
    with psycopg.connect(postgres_server.url(database or ""), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (int(number),))
    with pytest.raises(OperationalError), pipelined(connection):
        send(connection, "SELECT 1", ())
    connection.invalidate()
    transaction.close()
