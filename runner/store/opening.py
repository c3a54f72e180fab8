"""Opening a database: made, brought up to date or refused, and its clock's start looked at."""

import shlex
from collections.abc import Callable
from random import Random
from threading import Event

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from runner.core.errors import UsageError
from runner.core.points import Point, Reach
from runner.store import migrate
from runner.store.engine import Engines, is_away, is_locked, said
from runner.store.patience import Patience, Trouble
from runner.store.place import Place, refuse_unusable

_BOOT = text("SELECT value FROM meta WHERE name = 'boot'")
_SET_BOOT = text(
    """
    INSERT INTO meta (name, value) VALUES ('boot', :boot)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
    """
)
# The conditions of job_adrift and job_worker as they stand there, so that only they are read.
_WAIT_ANEW = (
    text(
        """
        UPDATE job SET clock_closed_ms = :now_ms
        WHERE idle_state IN (1, 2) AND state = 1 AND clock_closed_ms > 0
        """
    ),
    text(
        """
        UPDATE job SET clock_closed_ms = :now_ms
        WHERE worker IS NOT NULL AND state = 1 AND clock_closed_ms > 0
        """
    ),
)
_DUE = text(
    "UPDATE job SET clock_not_before_ms = 1 WHERE idle_state = 0 AND clock_not_before_ms > 0"
)
_SET_ID = text("INSERT INTO meta (name, value) VALUES ('id', :fresh) ON CONFLICT DO NOTHING")
_ID = text("SELECT value FROM meta WHERE name = 'id'")
_SERVER_MS = text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")
_CHECKPOINT = text("PRAGMA wal_checkpoint(TRUNCATE)")


def engines_of(place: Place) -> Engines:
    """Return the engines of a place; `UsageError` where no database can be there."""
    if place.path is not None:
        refuse_unusable(place.path)
    try:
        return Engines(place)
    except ImportError as error:
        # An optional extra; without libpq it is there and cannot be imported either.
        raise UsageError(
            "psycopg, which PostgreSQL needs, is not installed or finds no libpq",
            where="--db",
            remedy="install 'runner[postgres]'",
        ) from error


def make_ready(
    engines: Engines,
    reach: Reach,
    trouble: Trouble,
    *,
    upgrade: bool | None,
    patient: bool = False,
) -> None:
    """Bring the database to this Runner's tables, or raise `UsageError` telling why not.

    `patient`: a server that is away or restarting is waited for, as it is in the middle of work.
    """
    place = engines.place
    patience = Patience(place, Random(), Event().wait, trouble)
    while True:
        try:
            changed = _make_ready(engines, reach, upgrade=upgrade)
        except DBAPIError as error:
            if is_locked(error) or (patient and is_away(error)):
                patience.wait(error)
                continue
            line = said(error, place, while_working=False)
            if line is None:
                raise
            raise line from error
        if changed:
            reach(Point.MIGRATION_AFTER_COMMIT)
        return


def _make_ready(engines: Engines, reach: Reach, *, upgrade: bool | None) -> bool:
    place = engines.place
    with migrate.alone(place), engines.writing() as connection:
        with connection.begin():
            found = migrate.revision(connection)
        if found == migrate.HEAD:
            return False
        migrate.refuse_newer(found, place)
        if not _may_upgrade(place, found, upgrade):
            raise UsageError(
                "the database is from an older Runner" if found else "the database has no tables",
                where=place.label,
                remedy=f"run: runner db upgrade --db {shlex.quote(place.again)}",
            )
        with connection.begin():
            migrate.upgrade(connection, place, reach)
        return True


def _may_upgrade(place: Place, found: str | None, upgrade: bool | None) -> bool:  # noqa: FBT001
    if upgrade is not None:
        return upgrade
    # Others may be at work on a server: a person says when its tables change.
    return place.engine_name == "sqlite" or found is None


def after_boot(connection: Connection, boot: str, now_ms: int) -> None:
    """Begin all waits anew on a machine that was started since, or is another.

    The clock that counts from the start says nothing of a time before it (protocol.md section 4,
    7): what is closed counts as closed now, and what was put off is due.
    """
    before = connection.scalar(_BOOT)
    if before == boot:
        return
    connection.execute(_SET_BOOT, {"boot": boot})
    if before is not None:
        for statement in _WAIT_ANEW:
            connection.execute(statement, {"now_ms": now_ms})
        connection.execute(_DUE)


def own_id(connection: Connection, fresh: str) -> str:
    """Return the database's own id; `fresh` becomes it where it has none."""
    connection.execute(_SET_ID, {"fresh": fresh})
    return str(connection.scalar(_ID))


def server_offset_ms(connection: Connection, clock_ms: Callable[[], int]) -> int:
    """Return what to add to this machine's clock for the server's, in milliseconds.

    The middle of the question and the answer stands for the moment at the server.
    """
    asked_ms = clock_ms()
    server_ms = int(connection.scalar(_SERVER_MS) or 0)
    return server_ms - (asked_ms + clock_ms()) // 2


def tidy(engines: Engines) -> None:
    """Fold SQLite's log into the file, where nobody else has it open; never an error."""
    if engines.place.path is None:
        return
    try:
        with engines.writing() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(_CHECKPOINT)
    except DBAPIError:
        # The log is folded in at the next opening.
        return
