"""Both engines for the tests that run whole commands: which of them a test meets.

A test that asks for `database` meets SQLite. It meets PostgreSQL too if it is marked `on_both`, and
every one does with RUNNER_TEST_EVERY_ENGINE=1 but those marked `on_sqlite`: what only a file can
suffer.
"""

import os
from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer, programs

from runner.store.store import Store

EVERY_ENGINE = bool(os.environ.get("RUNNER_TEST_EVERY_ENGINE"))  # noqa: TID251 - a test's own switch
BOTH = ["sqlite", "postgresql"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "on_both: meets PostgreSQL in every run of the tests")
    config.addinivalue_line("markers", "on_sqlite: tests what only a file can suffer")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test the engines that it is to meet, unless it names them itself."""
    definition = metafunc.definition
    own = any("engine" in mark.args[0] for mark in definition.iter_markers("parametrize"))
    if own or "engine" not in metafunc.fixturenames or definition.get_closest_marker("on_sqlite"):
        return
    if EVERY_ENGINE or definition.get_closest_marker("on_both"):
        metafunc.parametrize("engine", BOTH, indirect=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = programs()
    if folder is None:
        # A test's own switch, no setting of Runner: CI sets it where nothing may be skipped.
        if os.environ.get("RUNNER_TEST_NO_SKIP") == "1":  # noqa: TID251
            pytest.fail("there is no PostgreSQL on this machine, and nothing may be skipped")
        pytest.skip("there is no PostgreSQL on this machine (initdb, pg_ctl)")
    server = PostgresServer(folder)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def template(postgres_server: PostgresServer) -> str:
    """The name of a PostgreSQL database with its tables, which nobody opens: to be copied."""
    url = postgres_server.fresh()
    Store.open(url).close()
    return url.rpartition("/")[2]


@pytest.fixture(scope="session")
def ready_database(postgres_server: PostgresServer, template: str) -> str:
    """A PostgreSQL database with its tables, to be emptied for each test."""
    return postgres_server.fresh(template)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that this turn of the test meets."""
    name: str = getattr(request, "param", "sqlite")
    return name


@pytest.fixture
def database(engine: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """What to give `--db`: "" for a SQLite file of the test's own, else a new database's URL."""
    if engine == "sqlite":
        yield ""
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.fresh(request.getfixturevalue("template"))
    yield url
    server.drop(url)
