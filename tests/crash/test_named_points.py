"""Killed with SIGKILL at each named point, the same command goes on: no job lost, no run twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_run import KILLED, Scene
from simulator_process import SimulatorProcess

from runner.core.points import Point

NTH = {
    Point.WRITE_BEFORE_COMMIT: 4,
    Point.WRITE_AFTER_COMMIT: 6,
    Point.CREATE_BEFORE_SEND: 3,
    Point.CREATE_AFTER_ANSWER: 3,
    Point.INTENT_DURABLE: 3,
    Point.READ_AFTER_ANSWER: 3,
}
"""Points that are worth meeting a little later than first: something is under way by then."""

NOT_REACHED_BY_ONE_START = {Point.TAKE_OVER_AFTER_COMMIT}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with SimulatorProcess("--duration", "0.15") as server:
        yield Scene(tmp_path, server, 18)


@pytest.mark.parametrize("point", [p for p in Point if p not in NOT_REACHED_BY_ONE_START])
def test_a_kill_at_a_point_loses_nothing_and_repeats_nothing(scene: Scene, point: Point) -> None:
    code, said = scene.run(point.value, NTH.get(point, 1))
    assert code == KILLED, f"{point} was not reached: exit {code}: {said}"
    code, said = scene.run()
    assert code == 1, said
    scene.check()


def test_a_kill_while_taking_over_is_taken_over(scene: Scene) -> None:
    assert scene.run(Point.CREATED_RECORDED.value, 2)[0] == KILLED
    code, said = scene.run(Point.TAKE_OVER_AFTER_COMMIT.value)
    assert code == KILLED, said
    code, said = scene.run()
    assert code == 1, said
    scene.check()
