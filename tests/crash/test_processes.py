"""Several worker processes under one command: any of them may be killed, and one Ctrl-C ends all."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_run import KILLED, OF_THE_COMMAND, Scene
from forked import Forked
from simulator_process import SimulatorProcess
from until import until
from ways import PROCESSES
from work_command import children_of, state_of

from runner.core.points import Point

LIMIT_S = 90.0
POINTS = (
    set(Point) - OF_THE_COMMAND - {Point.TAKE_OVER_AFTER_COMMIT}
    if PROCESSES > 1
    else {Point.CREATE_AFTER_ANSWER}
)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with SimulatorProcess("--duration", "uniform:0.1:0.5") as server:
        scene = Scene(tmp_path, server, 18)
        # Long enough that only the runs that never end are past it, however long a start takes.
        scene.settings["deadline"] = 4.0
        yield scene


def until_creates(scene: Scene, child: Forked, many: int) -> None:
    until(
        lambda: child.poll() is not None or scene.server.audit().count("create_requests") >= many,
        LIMIT_S,
    )


def over(pids: list[int]) -> bool:
    return all(state_of(pid) in ("", "Z") for pid in pids)


def test_a_killed_worker_is_replaced_and_said_and_one_interrupt_drains_all(scene: Scene) -> None:
    scene.settings |= {"http": "httpx", "processes": 3}
    command = scene.start(own_group=True)
    try:
        until_creates(scene, command, 3)
        until(lambda: len(children_of(command.pid)) == 3, LIMIT_S)
        killed = children_of(command.pid)[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: len({*children_of(command.pid)} - {killed}) == 3, LIMIT_S)
        workers = children_of(command.pid)
        # As a terminal does: to all of the group. The workers are in groups of their own.
        os.killpg(command.pid, signal.SIGINT)
        said = command.communicate(timeout=LIMIT_S)[1]
    finally:
        command.kill()
    assert command.returncode == 3, said
    assert f"worker process {killed} died by signal 9" in said
    assert said.count("another takes its place") == 1
    assert "Interrupt" not in said
    assert over(workers)
    resumed(scene, "aiohttp", 1)


def test_a_killed_command_takes_its_workers_along_and_the_same_command_goes_on(
    scene: Scene,
) -> None:
    scene.settings |= {"http": "aiohttp", "processes": 3}
    command = scene.start()
    try:
        until_creates(scene, command, 6)
        workers = children_of(command.pid)
    finally:
        command.kill()
    command.communicate()
    assert (command.returncode, len(workers)) == (KILLED, 3)
    # It starts at once, and may meet them while they drain.
    resumed(scene, "httpx", 1)
    until(lambda: over(workers), LIMIT_S)


def resumed(scene: Scene, http: str, processes: int) -> None:
    scene.settings |= {"http": http, "processes": processes}
    code, said = scene.run(timeout=LIMIT_S)
    assert code == 1, said
    scene.check()


@pytest.mark.parametrize("point", [p for p in Point if p in POINTS])
def test_a_worker_of_three_that_dies_at_a_point_is_replaced_under_the_same_command(
    scene: Scene, point: Point
) -> None:
    scene.settings |= {"processes": 3}
    code, said = scene.run(point.value, workers=True, timeout=LIMIT_S)
    assert code == 1, said
    assert said.count("another takes its place") == 1, f"{point} was not reached: {said}"
    scene.check()
