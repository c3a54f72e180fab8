"""One server a module, and a stage on it for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from behaviour.stage import Stage
from simulator_process import SimulatorProcess


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorProcess]:
    with SimulatorProcess() as one:
        yield one


@pytest.fixture
def stage(tmp_path: Path, server: SimulatorProcess, database: str) -> Stage:
    return Stage(tmp_path, server, database)
