"""A private PostgreSQL for a measurement: the tests' own, with every commit on the disk."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

from benchmarks.measure import ROOT

DURABLE = "-c fsync=on -c shared_buffers=256MB -c max_wal_size=4GB"


class PrivateServer(Protocol):
    """What is used of the tests' private PostgreSQL: `fresh` makes a database, and its URL."""

    def fresh(self) -> str: ...
    def remove(self) -> None: ...


@contextmanager
def private_server() -> Iterator[PrivateServer | None]:
    """Start one, and remove it at the end; None where the machine has no `initdb`."""
    sys.path.insert(0, str(ROOT / "tests"))
    found = importlib.import_module("postgres_server")
    folder = found.programs()
    if folder is None:
        yield None
        return
    make = cast("Callable[[Path, str], PrivateServer]", found.PostgresServer)
    server = make(folder, DURABLE)
    try:
        yield server
    finally:
        server.remove()
