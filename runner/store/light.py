"""A connection for writes that need not survive a power cut: permits.

A permit stands a fraction of a second ahead, and a power cut lasts longer. So its commit does not
wait for the disk: p50 0.02 ms instead of 4.0 (budgets.md section 1.3), and it never waits behind
the writer thread's groups. A killed process loses nothing that it committed.

On PostgreSQL it is the second of a process's two connections, so reads and notifications take it
too.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from threading import Event, Lock
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from runner.store.engine import ENCODED, KEPT_ALIVE, is_lost, note_pooled
from runner.store.patience import Patience, Trouble
from runner.store.place import Place
from runner.store.silent import BOUNDS, end_silent, patient, waited_in_vain

if TYPE_CHECKING:
    import psycopg
    from psycopg.errors import Diagnostic

T = TypeVar("T")

LOCKED_S = (0.002, 0.006)
"""A group of the writer thread takes about so long, and a permit stands further ahead than that."""

_LIGHTLY = text(
    f"""
    SELECT set_config('synchronous_commit', 'off', true), {BOUNDS}
    """
)


class LightWriter:
    """One connection, made at first use; its methods may be called from any thread."""

    def __init__(self, place: Place, trouble: Trouble) -> None:
        self._place = place
        self._trouble = trouble
        self._lock = Lock()
        self._rng = Random()
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def run(self, verb: Callable[[Connection], T], *, whole: bool = False) -> T:
        """Run a verb and return what it returns; `whole`: its statements are one transaction.

        It runs again after a collision or a lost connection: what was granted then and not heard
        of is lost, as with a process that dies.
        """
        return self._patiently(lambda: self._once(verb, whole=whole))

    def read(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb that only reads, as one transaction."""
        return self._patiently(lambda: self._plainly(verb))

    @contextmanager
    def held(self) -> Iterator[Connection | None]:
        """Give the connection as it is, while nobody else uses it; None where there is none."""
        with self._lock:
            yield self._connection

    def open_again(self) -> bool:
        """Make the connection where there is none; False, at once, where the server is away."""
        with self._lock:
            try:
                self._connection = self._connection or self._made()
            except DBAPIError:
                return False
            return True

    def forget(self, connection: Connection) -> None:
        """Let go of a connection that was found to be lost, if it is still the one in use."""
        with self._lock:
            if self._connection is connection:
                self._forget()

    def outside(self, statement: str) -> list[str]:
        """Run a statement that no transaction may hold, such as VACUUM; return its warnings."""
        with self._lock:
            self._forget()
            patience = Patience(self._place, self._rng, Event().wait, self._trouble)
            self._engine = self._engine or _engine(self._place)
            while True:
                try:
                    with self._engine.connect() as connection:
                        connection.execution_options(isolation_level="AUTOCOMMIT")
                        warnings = _warnings(connection)
                        connection.exec_driver_sql(statement)
                        return warnings
                except DBAPIError as error:
                    patience.wait(error)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._forget()
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _patiently(self, work: Callable[[], T]) -> T:
        with self._lock:
            patience = Patience(self._place, self._rng, Event().wait, self._trouble, LOCKED_S)
            while True:
                try:
                    return work()
                except DBAPIError as error:
                    if is_lost(error):
                        self._forget()
                    elif waited_in_vain(error) and self._connection is not None:
                        end_silent(self._connection)
                    patience.wait(error)

    def _made(self) -> Connection:
        self._engine = self._engine or _engine(self._place)
        return self._engine.connect()

    def _plainly(self, verb: Callable[[Connection], T]) -> T:
        self._connection = self._connection or self._made()
        with self._connection.begin():
            return verb(self._connection)

    def _once(self, verb: Callable[[Connection], T], *, whole: bool) -> T:
        self._connection = connection = self._connection or self._made()
        with connection.begin():
            if connection.dialect.name == "postgresql":
                # For this transaction alone: behind a pooler the session is others' too.
                connection.execute(_LIGHTLY, patient())
            elif whole:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            return verb(connection)

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.dialect.name == "postgresql":
                connection.invalidate()
            connection.close()


def _warnings(connection: Connection) -> list[str]:
    """Return a list that gets what the server will warn of on this connection."""
    found: list[str] = []

    def note(told: "Diagnostic") -> None:
        if told.severity_nonlocalized == "WARNING":
            found.append(told.message_primary or "")

    driver: psycopg.Connection | sqlite3.Connection | None = connection.connection.driver_connection
    if driver is not None and not isinstance(driver, sqlite3.Connection):
        driver.add_notice_handler(note)
    return found


def _engine(place: Place) -> Engine:
    if place.engine_name == "postgresql":
        engine = create_engine(
            place.url,
            poolclass=NullPool,
            connect_args={
                "prepare_threshold": None,
                "connect_timeout": 10,
                "application_name": "runner permits",
                **ENCODED,
                **KEPT_ALIVE,
            },
        )
        event.listen(engine, "connect", note_pooled)
        return engine
    engine = create_engine(
        place.url,
        poolclass=NullPool,
        # Nothing begins by itself: one statement is its own transaction, and a look takes no lock.
        connect_args={"isolation_level": None, "timeout": 0, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=normal")
        cursor.close()

    return engine
