"""Bringing a database to the tables of this Runner: in one transaction, behind a lock.

Alembic is imported only when there is something to do: that costs half a second.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from runner.core.errors import UsageError
from runner.core.points import Point, Reach
from runner.store import locks
from runner.store.place import Place

HEAD = "0003"
"""The revision that this Runner's statements are written for: the newest in migrations/."""

NEW = "new.sqlite.sql"
"""The tables of a new SQLite database at `HEAD`, in migrations/: what the migrations come to."""

_OURS = re.compile(r"\d{4}")
"""How our revisions are named; alembic's own are twelve hexadecimal digits."""
_TABLE = re.compile(r"CREATE TABLE (\w+)")
_LOCK = text("SELECT pg_advisory_xact_lock(7234, 0)")
_REVISION = text("SELECT version_num FROM alembic_version")


def folder() -> Path:
    """Return the folder of the migrations: in the wheel, else beside the package in a checkout."""
    root = Path(str(files("runner")))
    inside = root / "migrations"
    return inside if inside.is_dir() else root.parent / "migrations"


def revision(connection: Connection) -> str | None:
    """Return the revision that a database stands at; None where it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(_REVISION)
    return None if found is None else str(found)


def known_revisions() -> list[str]:
    """Return all revisions of this Runner, the oldest first."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - half a second, only for a change

    script = ScriptDirectory(str(folder()))
    return [one.revision for one in reversed(list(script.walk_revisions()))]


def refuse_newer(found: str | None, place: Place) -> None:
    """Raise `UsageError` for a database that a newer Runner, or another program, has made."""
    if found is not None and not _OURS.fullmatch(found):
        raise _foreign(place)
    if found is not None and found != HEAD and found not in known_revisions():
        raise UsageError(
            f"the database is from a newer Runner (revision {found}, this one knows {HEAD})",
            where=place.label,
            remedy="upgrade Runner, or give another --db",
        )


def _foreign(place: Place) -> UsageError:
    return UsageError(
        "is a database of another program", where=place.label, remedy="give another --db"
    )


def _names() -> set[str]:
    """Return the names of our tables: one of them that we have not made is another program's."""
    return set(_TABLE.findall((folder() / NEW).read_text())) - {"alembic_version"}


def upgrade(connection: Connection, place: Place, reach: Reach) -> None:
    """Bring the database to `HEAD`, inside the caller's transaction.

    Looks again behind the lock: another process may have done it meanwhile. A new SQLite database
    is the common case, at the start of most runs, and gets its tables without Alembic. `UsageError`
    where there is a table of a name of ours that we did not make.
    """
    if place.engine_name == "postgresql":
        connection.execute(_LOCK)
    found = revision(connection)
    refuse_newer(found, place)
    if found is None and _names() & set(inspect(connection).get_table_names()):
        raise _foreign(place)
    if found is None and place.engine_name == "sqlite":
        for statement in (folder() / NEW).read_text().split(";\n"):
            connection.exec_driver_sql(statement)
    elif found != HEAD:
        from alembic import command  # noqa: PLC0415 - half a second, only for a change
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(folder()).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
    reach(Point.MIGRATION_BEFORE_COMMIT)


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Hold the lock file of a SQLite database, so that two starts at once make it once.

    The transaction's own lock would do for the tables; this one also keeps a second process from
    finding the file while its journal mode is being changed.
    """
    if place.path is None:
        yield
        return
    with locks.waited_for(Path(f"{place.path}.lock")):
        yield
