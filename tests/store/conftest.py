"""One suite on both engines: a real SQLite file and a real PostgreSQL."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer, programs

from runner.store.store import Store


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = programs()
    if folder is None:
        if os.environ.get("RUNNER_TEST_NO_SKIP") == "1":
            pytest.fail("there is no PostgreSQL on this machine, and nothing may be skipped")
        pytest.skip("there is no PostgreSQL on this machine (initdb, pg_ctl)")
    server = PostgresServer(folder)
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each engine."""
    if request.param == "sqlite":
        return str(tmp_path / "runner.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.fresh()


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
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()
