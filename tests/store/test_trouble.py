"""A full disk, a server that restarts, a commit whose answer is lost: nothing is half done."""

import select
import socket
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import psycopg
import pytest
from postgres_server import PostgresServer
from sqlalchemy import Connection, text
from store_book import Working, count, counted, line, rows, tallied, working, write

from runner.core.errors import Stopped
from runner.core.model import JobState
from runner.core.moves import Evidence, Intend, Note, Settle, held
from runner.store import silent
from runner.store.claim import Want
from runner.store.store import Store

NEXT = "SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text)"
"""The number that the server will give to the next transaction."""


def test_a_full_disk_stops_the_store_and_leaves_the_group_undone(file_store: Store) -> None:
    store = file_store
    work = working(store, [line(number) for number in range(1, 11)])
    pages = count(store, "PRAGMA page_count")
    store._write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages + 8}"))
    ends = [Settle(held(job), JobState.FAILED, "rejected", run=b"x" * 100_000) for job in work.jobs]
    assert not any(write(store, *ends))
    assert store.trouble == (f"{store.label}: disk full; free some space and give the same command")
    assert isinstance(store.broken, Stopped)
    with pytest.raises(Stopped, match="disk full"):
        store.claim(work.me, [Want(work.batch.id, None, 1)])
    assert write(store, Intend(held(work.jobs[0]))) == [False]
    again = Store.open(store.label)
    try:
        assert count(again, "SELECT COUNT(*) FROM job WHERE state = 0") == 10
        assert count(again, "SELECT COUNT(*) FROM outcome") == 0
        assert tallied(again) == counted(again)
    finally:
        again.close()


def test_a_server_that_restarts_is_waited_for(postgres_server: PostgresServer) -> None:
    told: list[str] = []
    store = Store.open(postgres_server.fresh(), on_trouble=told.append)
    try:
        work = working(store, [line(1), line(2)])
        postgres_server.stop()
        won: SimpleQueue[bool] = SimpleQueue()
        store.record(Intend(held(work.jobs[0])), won.put)
        postgres_server.start()
        assert won.get(timeout=60), store.trouble
        assert store.beat(work.me, 1)
        assert store.left([work.batch.id]).submitting == 1
    finally:
        store.close()


class Cable:
    """Between the store and its server; may be cut before or after a COMMIT is passed on."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut = ""
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            while True:
                ready, _, _ = select.select([client, server], [], [], 60)
                for end in ready:
                    content = end.recv(65536)
                    if not content:
                        return
                    if end is server:
                        client.sendall(content)
                    elif self.cut and b"COMMIT" in content:
                        if self.cut == "after":
                            server.sendall(content)
                            server.recv(1)
                        self.cut = ""
                        self.cuts += 1
                        return
                    else:
                        server.sendall(content)


@pytest.fixture
def cable(postgres_server: PostgresServer) -> Iterator[Cable]:
    one = Cable(postgres_server.port)
    yield one
    one.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_whose_answer_is_lost_is_asked_for_and_never_written_twice(
    postgres_server: PostgresServer, cable: Cable, when: str
) -> None:
    url = postgres_server.fresh()
    store = Store.open(url.replace(str(postgres_server.port), str(cable.port)))
    try:
        work: Working = working(store, [line(1), line(2)])
        job = work.jobs[0]
        cable.cut = when
        note = Note(job.id, 1, 1, Evidence("noted", run_id="run_1"))
        assert write(store, note, Intend(held(job))) == [True, True]
        assert cable.cuts == 1
        assert rows(store, "SELECT state, attempt FROM job ORDER BY id") == [(1, 1), (0, 0)]
        assert count(store, "SELECT COUNT(*) FROM attempt") == 1
        assert tallied(store) == counted(store)
    finally:
        store.close()


@pytest.mark.parametrize("taken", [False, True])
def test_a_transaction_that_a_crash_of_the_server_has_undone_runs_again(
    postgres_server: PostgresServer, taken: bool
) -> None:
    """Its number was durable with nothing: the server does not know it, or has given it away."""
    url = postgres_server.fresh()
    store = Store.open(url)
    tries: list[str] = []

    def verb(connection: Connection) -> None:
        number = str(connection.scalar(text("SELECT CAST(pg_current_xact_id() AS text)")))
        tries.append(number)
        if len(tries) > 1:
            connection.execute(text("INSERT INTO meta (name, value) VALUES ('kept', '1')"))
            return
        postgres_server.stop()
        postgres_server.start()
        with psycopg.connect(url, autocommit=True) as other:
            while taken and int(other.execute(NEXT).fetchone()[0]) <= int(number):  # type: ignore[index]
                other.execute("SELECT pg_current_xact_id()")

    try:
        store.writing(verb)
        assert len(tries) == 2
        assert rows(store, "SELECT value FROM meta WHERE name = 'kept'") == [("1",)]
    finally:
        store.close()


@pytest.mark.parametrize("writer", ["the writer", "the light writer"])
def test_a_client_that_fell_silent_in_a_transaction_holds_nobody_up_for_long(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    monkeypatch.setattr(silent, "PATIENT_S", 1)
    url = postgres_server.fresh()
    told: list[str] = []
    store = Store.open(url, on_trouble=told.append)
    # As another host's writer leaves it that is cut off between two statements of a group.
    cut_off = psycopg.connect(url, application_name="runner", prepare_threshold=None)
    try:
        work = working(store, [line(1)])
        job = work.jobs[0]
        # The server's own timer is off after an executemany, most times: here it never is in time,
        # so that whoever waits must end it.
        cut_off.execute("SELECT set_config('idle_in_transaction_session_timeout', '10min', true)")
        for table in ("job", "batch"):
            lock = psycopg.sql.SQL("SELECT id FROM {} WHERE id = %s FOR UPDATE")
            cut_off.cursor().executemany(
                lock.format(psycopg.sql.Identifier(table)), [(job.id,), (job.id,)]
            )
        if writer == "the writer":
            assert write(store, Intend(held(job))) == [True], store.trouble
        else:
            store._lightly(
                lambda c: c.exec_driver_sql("SELECT id FROM batch FOR UPDATE").all(), whole=True
            )
        with pytest.raises(psycopg.OperationalError):
            cut_off.execute("SELECT 1")
    finally:
        cut_off.close()
        store.close()
