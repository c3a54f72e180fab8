"""Two commands at once, a stopped worker that wakes up, and Ctrl-C."""

import contextlib
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_run import Scene
from forked import Forked
from simulator_process import SimulatorProcess
from work_command import state_of

from runner.store.store import Store


@pytest.fixture
def scene(tmp_path: Path, database: str) -> Iterator[Scene]:
    with SimulatorProcess("--duration", "uniform:0.1:0.5") as server:
        scene = Scene(tmp_path, server, 36, database)
        # Longer than a busy machine holds up a run that ends well: past it, that is cancelled.
        scene.settings["deadline"] = 4.0
        yield scene


def until_creates(scene: Scene, child: Forked, many: int) -> None:
    while child.poll() is None and scene.server.audit().count("create_requests") < many:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.05)


def freeze(scene: Scene, child: Forked) -> None:
    """Stop the process where it holds no lock on the file: else nobody can write, stopped or not.

    A server ends by itself the transaction of a client that says nothing for long.
    """
    while True:
        child.send_signal(signal.SIGSTOP)
        # The signal may come after it has taken the lock that was free when it was sent.
        while state_of(child.pid) not in ("T", "Z"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.01)
        if scene.url:
            return
        connection = sqlite3.connect(scene.db, timeout=0.2, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            child.send_signal(signal.SIGCONT)
            continue
        finally:
            connection.close()
        return


def test_the_same_command_twice_at_once_shares_the_work(scene: Scene) -> None:
    one, two = scene.start(), scene.start()
    said = [child.communicate(timeout=120)[1] for child in (one, two)]
    assert (one.returncode, two.returncode) == (1, 1), said
    scene.check()


def test_a_worker_stopped_past_its_lease_repeats_nothing_when_it_wakes(scene: Scene) -> None:
    frozen = scene.start()
    until_creates(scene, frozen, 5)
    freeze(scene, frozen)
    try:
        code, said = scene.run(timeout=150)
        assert code == 1, said
    finally:
        frozen.send_signal(signal.SIGCONT)
    frozen.communicate(timeout=60)
    assert frozen.returncode == 1
    scene.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_drains_and_the_same_command_resumes(scene: Scene, number: int) -> None:
    child = scene.start()
    until_creates(scene, child, 8)
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode == 3
    code, said = scene.run(timeout=120)
    assert code == 1, said
    scene.check()


def test_a_second_interrupt_ends_at_once_and_leaves_a_sound_database(scene: Scene) -> None:
    scene.server.set(latency="fixed:2")
    child = scene.start()
    until_creates(scene, child, 3)
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert child.returncode == 3
    store = Store.open(scene.db)
    try:
        assert store.check() == []
    finally:
        store.close()
    scene.server.set(latency="fixed:0")
    code, said = scene.run(timeout=120)
    assert code == 1, said
    scene.check()
