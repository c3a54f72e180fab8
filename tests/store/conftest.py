"""One suite on both engines: a real SQLite file and a real PostgreSQL."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from postgres_server import PostgresServer
from psycopg import sql

from runner.store.migrate import HEAD
from runner.store.store import Store
from runner.store.tables import METADATA


@pytest.fixture(scope="session")
def ready_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with its tables, to be copied: Alembic costs half a second a time."""
    path = tmp_path_factory.mktemp("ready") / "runner.db"
    Store.open(str(path)).close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a database, with no tables yet."""
    if request.param == "sqlite":
        return str(tmp_path / "runner.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.fresh()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with no jobs."""
    if request.param == "sqlite":
        ready: Path = request.getfixturevalue("ready_file")
        return str(shutil.copy(ready, tmp_path / "runner.db"))
    url: str = request.getfixturevalue("ready_database")
    # A new database a test would be 300 files each, made and removed.
    with psycopg.connect(url, autocommit=True) as connection:
        tables = sql.SQL(", ").join(map(sql.Identifier, METADATA.tables))
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(tables))
        connection.execute("UPDATE alembic_version SET version_num = %s", (HEAD,))
    return url


@pytest.fixture
def open_store(store_url: str) -> Iterator[Callable[[], Store]]:
    """Open the database anew at each call; all are closed in the end."""
    opened: list[Store] = []

    def opener() -> Store:
        opened.append(Store.open(store_url))
        return opened[-1]

    yield opener
    for store in reversed(opened):
        store.close()


@pytest.fixture
def file_store(ready_file: Path, tmp_path: Path) -> Iterator[Store]:
    """A SQLite database with no jobs, for what only a file can suffer."""
    store = Store.open(str(shutil.copy(ready_file, tmp_path / "file.db")))
    yield store
    store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()
