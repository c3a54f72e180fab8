"""A connection for writes that need not survive a power cut: permits.

A permit stands a fraction of a second ahead, and a power cut lasts longer. So its commit does not
wait for the disk: p50 0.02 ms instead of 4.0 (budgets.md section 1.3), and it never waits behind
the writer thread's groups. A killed process loses nothing that it committed.
"""

from collections.abc import Callable
from random import Random
from threading import Event, Lock
from typing import TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from runner.store.engine import Patience, is_lost
from runner.store.place import Place

T = TypeVar("T")


class LightWriter:
    """One connection, made at first use; its methods may be called from any thread."""

    def __init__(self, place: Place, tell: Callable[[str], None]) -> None:
        self._place = place
        self._tell = tell
        self._lock = Lock()
        self._rng = Random()
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def run(self, verb: Callable[[Connection], T], *, whole: bool = False) -> T:
        """Run a verb and return what it returns; `whole`: its statements are one transaction.

        It runs again after a collision or a lost connection: what was granted then and not heard
        of is lost, as with a process that dies.
        """
        with self._lock:
            patience = Patience(self._place, self._rng, Event().wait, self._tell)
            while True:
                try:
                    return self._once(verb, whole=whole)
                except DBAPIError as error:
                    if is_lost(error):
                        self._forget()
                    patience.wait(error)

    def outside(self, statement: str) -> None:
        """Run a statement that no transaction may hold, such as VACUUM."""
        with self._lock:
            self._forget()
            patience = Patience(self._place, self._rng, Event().wait, self._tell)
            self._engine = self._engine or _engine(self._place)
            while True:
                try:
                    with self._engine.connect() as connection:
                        connection.execution_options(isolation_level="AUTOCOMMIT")
                        connection.exec_driver_sql(statement)
                        return
                except DBAPIError as error:
                    patience.wait(error)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._forget()
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _once(self, verb: Callable[[Connection], T], *, whole: bool) -> T:
        if self._connection is None:
            self._engine = self._engine or _engine(self._place)
            self._connection = self._engine.connect()
        connection = self._connection
        with connection.begin():
            if connection.dialect.name == "postgresql":
                # For this transaction alone: behind a pooler the session is others' too.
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            elif whole:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            return verb(connection)

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.dialect.name == "postgresql":
                connection.invalidate()
            connection.close()


def _engine(place: Place) -> Engine:
    if place.engine_name == "postgresql":
        return create_engine(
            place.url,
            poolclass=NullPool,
            connect_args={
                "prepare_threshold": None,
                "connect_timeout": 10,
                "application_name": "runner permits",
                "tcp_user_timeout": 60_000,
            },
        )
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
