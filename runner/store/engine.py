"""The engines: connections that write, connections that read, and what their errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, NullPool, StaticPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from runner.core.errors import RunnerError, Stopped, UsageError, quoted
from runner.store.place import Place

if TYPE_CHECKING:
    import psycopg

KEPT_ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""A connection whose other end is gone without a word is given up after 25 s (libpq's names)."""

ENCODED = {"client_encoding": "utf8"}
"""Whatever the user's or the database's own setting is: a manifest is UTF-8."""

POOLED = "pooled"
"""In a PostgreSQL connection's `info`: whether something stands between it and the server."""

EPOCH = "epoch"
"""In a PostgreSQL connection's `info`: what changes when the server recovers from a crash."""

_EPOCH = "SELECT CAST(stats_reset AS text) FROM pg_stat_bgwriter"
"""A recovery throws the statistics away (monitoring-stats), a restart in order keeps them."""

_WHEN_ASKED = 2**31
"""After so many uses the driver would have a statement prepared that was not asked to be."""

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_SQLITE_TROUBLE = {
    sqlite3.SQLITE_FULL: ("disk full", "free some space and give the same command"),
    sqlite3.SQLITE_IOERR: ("the disk failed", "look at the disk, then give the same command"),
    sqlite3.SQLITE_READONLY: ("the database is read-only", "make it writable"),
    sqlite3.SQLITE_PERM: ("no permission", "make the file and its directory writable"),
    sqlite3.SQLITE_CANTOPEN: (
        "the database cannot be opened",
        "make the file and its directory writable",
    ),
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "restore a copy, or give another --db"),
    sqlite3.SQLITE_NOTADB: ("is not a database", "give another --db"),
}
_POSTGRESQL_TROUBLE = {
    "53100": ("disk full", "free some space and give the same command"),
    "25006": ("the database is read-only", "give the primary, or a user who may write"),
    "3F000": ("there is no schema to work in", "make it, or correct the search_path"),
    "42501": ("no permission", "grant it to the user of --db"),
    "28P01": ("the password is wrong", "correct it in --db or in PGPASSWORD"),
    "28000": ("the server refuses the user", "correct --db, or the server's pg_hba.conf"),
    "3D000": ("there is no such database", "make it with createdb, or correct --db"),
}
_FORBIDDEN = frozenset({"42501", "25006"})
"""Met by the first write of a command, nothing of it was done."""
FULL = "takes no more connections"
_FULL = ("too many connections", "remaining connection slots", "no more connections allowed")
NO_ANSWER = "does not answer"
_OPTION = "connection option"
_REFUSALS = (
    ("no password supplied", ("the server asks for a password", "give it in PGPASSWORD")),
    ("Peer authentication failed", _POSTGRESQL_TROUBLE["28000"]),
    ("Ident authentication failed", _POSTGRESQL_TROUBLE["28000"]),
    ("authentication failed", _POSTGRESQL_TROUBLE["28P01"]),
    ("pg_hba.conf", _POSTGRESQL_TROUBLE["28000"]),
    (
        "does not exist",
        ("there is no such database or user", "make it with createdb, or correct --db"),
    ),
)
_WRONG = (
    "password",
    "pg_hba.conf",
    "does not exist",
    "translate host name",
    "name or service",
    "resolve host",
    "invalid",
)
"""What a server's absence is not told by: no waiting helps."""
# Another transaction was in the way, and the server undid ours: it runs again whole.
_COLLISIONS = frozenset({"40001", "40P01", "55P03"})
# 25P03: our transaction was ended since we said nothing for long, having been stopped.
_RESTARTING = frozenset({"57P01", "57P02", "57P03", "25P03"})
_UNPREPARED = frozenset({"26000", "42P05"})
"""A prepared statement that is not there, or is there already: the session is another than ours."""


class Engines:
    """Two engines on one place: the writer's connection, and connections that only read."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._prepares = True
        if place.engine_name == "sqlite":
            self._writing = _sqlite(place, "BEGIN IMMEDIATE")
            self._reading = self._writing if place.in_memory else _sqlite(place, "BEGIN")
        else:
            # Two connections a process at most: the writer keeps this one, and all else shares
            # the light writer's.
            self._writing = self._reading = create_engine(
                place.url,
                pool_size=1,
                max_overflow=0,
                pool_pre_ping=True,
                connect_args={
                    "prepare_threshold": None,
                    "connect_timeout": 10,
                    "application_name": "runner",
                    **ENCODED,
                    **KEPT_ALIVE,
                },
            )
            event.listen(self._writing, "connect", self._connected)

    def writing(self) -> Connection:
        """Return a connection whose transactions hold the write lock from their start."""
        return self._writing.connect()

    def reading(self) -> Connection:
        """Return a connection for one short snapshot."""
        return self._reading.connect()

    def prepare_nothing(self) -> None:
        """Let the server keep no statement prepared on the connections that are made from now on."""
        self._prepares = False

    def dispose(self) -> None:
        """Close what is open."""
        self._writing.dispose()
        self._reading.dispose()

    def _connected(self, connection: "psycopg.Connection", entry: ConnectionPoolEntry) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise UsageError(
                f"the database's encoding is {encoding}",
                where=self.place.label,
                remedy="make one with the encoding UTF8",
            )
        note_pooled(connection, entry)
        found = connection.execute(_EPOCH).fetchone()
        entry.info[EPOCH] = found[0] if found is not None else None
        if not entry.info[POOLED] and self._prepares:
            connection.prepare_threshold = _WHEN_ASKED
            # The plans for whatever values, which the tests read; else some are made at each use.
            connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.commit()


def note_pooled(connection: "psycopg.Connection", entry: ConnectionPoolEntry) -> None:
    """Note whether something stands between a new connection and the server.

    A pooler gives a number of its own for the session at the server, and in transaction mode changes
    that session: what was prepared, or listened to, would be another's.
    """
    found = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.rollback()
    entry.info[POOLED] = found is None or found[0] != connection.info.backend_pid


def _sqlite(place: Place, begin: str) -> Engine:
    reads = begin == "BEGIN"
    engine = create_engine(
        place.url,
        poolclass=StaticPool if place.in_memory else None if reads else NullPool,
        # isolation_level None: the driver begins nothing by itself. timeout 0: SQLite's own
        # back-off starves the unlucky for seconds (performance.md section D).
        connect_args={
            "isolation_level": None,
            "timeout": 5 if reads else 0,
            "check_same_thread": False,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        if reads:
            cursor.execute("PRAGMA query_only=1")
        else:
            cursor.execute("PRAGMA journal_mode=wal")
            # A committed intent must survive a power cut (protocol.md section 5, row 1).
            cursor.execute("PRAGMA synchronous=full")
            cursor.execute("PRAGMA fullfsync=1")
            cursor.execute("PRAGMA foreign_keys=on")
            # 32 MiB: names in no order touch the whole of a large unique index while it grows.
            cursor.execute("PRAGMA cache_size=-32768")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        # Not through SQLAlchemy, which makes a context and a result of it: once a group of moves.
        with sqlite_driver(connection, begin) as driver:
            driver.execute(begin)

    return engine


@contextmanager
def sqlite_driver(connection: Connection, statement: str) -> Iterator[sqlite3.Connection]:
    """Give SQLite's own connection; its errors come as SQLAlchemy would have raised them.

    What is locked or full is told by their codes.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"{driver!r} is no connection to SQLite")
    try:
        yield driver
    except sqlite3.Error as error:
        raise DBAPIError.instance(statement, None, error, sqlite3.Error) from error


def sqlite_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code, 0 where there is none."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF if isinstance(code, int) else 0


def sqlstate(error: BaseException | None) -> str:
    """Return PostgreSQL's error code, "" where there is none."""
    code = getattr(error, "sqlstate", "")
    return code if isinstance(code, str) else ""


def is_locked(error: DBAPIError) -> bool:
    """Whether another program was in the way, and the transaction may run again."""
    return sqlite_code(error.orig) in _LOCKED or sqlstate(error.orig) in _COLLISIONS


def is_lost(error: DBAPIError) -> bool:
    """Whether the connection to the server is gone, so that another may work."""
    if isinstance(error.orig, sqlite3.Error):
        return False
    state = sqlstate(error.orig)
    return (
        error.connection_invalidated
        or state.startswith("08")
        or state in _RESTARTING | _UNPREPARED
        # A connection that never came to be has no code.
        or (isinstance(error, OperationalError | InterfaceError) and not state)
    )


def is_unprepared(error: DBAPIError) -> bool:
    """Whether something between changed the session at the server, unseen when we connected."""
    return sqlstate(error.orig) in _UNPREPARED


def is_forbidden(error: DBAPIError) -> bool:
    """Whether the server refuses to write for this user, or at all."""
    return sqlstate(error.orig) in _FORBIDDEN


def away(error: DBAPIError) -> str:
    """Return what a server that is lost does, as a predicate."""
    full = any(word in str(error.orig) for word in _FULL)
    return FULL if full else NO_ANSWER


def is_away(error: DBAPIError) -> bool:
    """Whether a server that was there before may come back: not a wrong name or password."""
    text = str(error.orig).lower()
    return is_lost(error) and not any(word in text for word in _WRONG)


def said(error: DBAPIError, place: Place, *, while_working: bool) -> RunnerError | None:
    """Return a driver's error as one line without a secret, or None where it is a bug of ours.

    `while_working`: the same command can go on later (exit 3); else nothing was done (exit 2).
    """
    kind = Stopped if while_working else UsageError
    if _OPTION in str(error.orig) and not sqlstate(error.orig):
        return UsageError(quoted(str(error.orig).strip()), where=place.label, remedy="correct --db")
    trouble = _SQLITE_TROUBLE.get(sqlite_code(error.orig)) or _POSTGRESQL_TROUBLE.get(
        sqlstate(error.orig)
    )
    if trouble is not None:
        return kind(trouble[0], where=place.label, remedy=trouble[1])
    if is_locked(error):
        return kind(
            "the database is locked by another program",
            where=place.label,
            remedy="end that program and give the same command",
        )
    if is_lost(error):
        why, remedy = _unreachable(error)
        return kind(why, where=place.label, remedy=remedy)
    return None


def _unreachable(error: DBAPIError) -> tuple[str, str]:
    """Return why a server does not take us, and what to do.

    The driver tells it by its text alone while it connects (libpq, fe-connect.c).
    """
    text = str(error.orig)
    if away(error) != NO_ANSWER:
        return "the server takes no more connections", "end others, or raise its limit"
    for word, trouble in _REFUSALS:
        if word in text:
            return trouble
    # "connection to server at …, port … failed: Connection refused", then a hint of its own.
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["closed"]
    failed = [line.rpartition("failed: ")[2] for line in lines if "failed: " in line]
    why = quoted((failed or lines)[-1])
    return f"no answer from the server: {why}", "start the server, or correct --db"
