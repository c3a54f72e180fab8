"""Killed at random moments, again and again, then left to finish."""

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_run import Scene
from simulator_process import SimulatorProcess
from ways import PROCESSES

KILLS = int(os.environ.get("RUNNER_TEST_RANDOM_KILLS", "4"))  # noqa: TID251 - a test's own switch
"""A handful in every run of the tests; 300 behind the variable (figures in the README)."""


@pytest.fixture
def scene(tmp_path: Path, database: str) -> Iterator[Scene]:
    with SimulatorProcess("--duration", "uniform:0.1:0.6", "--seed", "7") as server:
        scene = Scene(tmp_path, server, max(30, 2 * KILLS), database)
        # Long enough that only the runs that never end are past it, however long a start takes.
        scene.settings["deadline"] = 12.0 * max(1, PROCESSES)
        yield scene


@pytest.mark.timeout(max(180, 20 * KILLS))
def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(scene: Scene) -> None:
    rng = random.Random(11)
    for _ in range(KILLS):
        before = scene.server.audit().count("create_requests")
        child = scene.start()
        try:
            while child.poll() is None:
                if scene.server.audit().count("create_requests") > before:
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.05)
            child.wait(rng.random() * 0.8)
        except subprocess.TimeoutExpired:
            pass
        child.kill()
        child.communicate()
    code, said = scene.run(timeout=150)
    assert code == 1, said
    scene.check()
