"""Killed with SIGKILL at each named point, the same command goes on: no job lost, no run twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_run import KILLED, OF_THE_COMMAND, Scene
from engines import EVERY_ENGINE
from postgres_server import PostgresServer
from simulator_process import SimulatorProcess
from ways import PROCESSES, by_this_process

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
if PROCESSES > 1:
    # Workers send and record: test_processes.py kills those.
    NOT_REACHED_BY_ONE_START = set(Point) - OF_THE_COMMAND
MIGRATIONS = {Point.MIGRATION_BEFORE_COMMIT, Point.MIGRATION_AFTER_COMMIT}
OF_THE_STORE = {
    Point.MIGRATION_BEFORE_COMMIT,
    Point.CLAIM_AFTER_COMMIT,
    Point.WRITE_BEFORE_COMMIT,
}
"""Points whose two sides the engine decides on: met on PostgreSQL in every run of the tests."""

MET_ON_POSTGRESQL = (set(Point) if EVERY_ENGINE else OF_THE_STORE) - NOT_REACHED_BY_ONE_START


@pytest.fixture
def scene(tmp_path: Path, database: str) -> Iterator[Scene]:
    with SimulatorProcess("--duration", "0.15") as server:
        yield Scene(tmp_path, server, 12, database)


@pytest.mark.on_sqlite
@pytest.mark.parametrize("point", [p for p in Point if p not in NOT_REACHED_BY_ONE_START])
def test_a_kill_at_a_point_loses_nothing_and_repeats_nothing(scene: Scene, point: Point) -> None:
    killed_at(scene, point)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
@pytest.mark.parametrize("point", [p for p in Point if p in MET_ON_POSTGRESQL])
def test_a_kill_at_a_point_on_postgresql_loses_nothing_and_repeats_nothing(
    scene: Scene, point: Point, postgres_server: PostgresServer
) -> None:
    if point in MIGRATIONS:
        scene.url = postgres_server.fresh()
    killed_at(scene, point)


def killed_at(scene: Scene, point: Point) -> None:
    code, said = scene.run(point.value, NTH.get(point, 1))
    assert code == KILLED, f"{point} was not reached: exit {code}: {said}"
    code, said = scene.run()
    assert code == 1, said
    scene.check()


@by_this_process
def test_a_kill_while_taking_over_is_taken_over(scene: Scene) -> None:
    assert scene.run(Point.CREATED_RECORDED.value, 2)[0] == KILLED
    code, said = scene.run(Point.TAKE_OVER_AFTER_COMMIT.value)
    assert code == KILLED, said
    code, said = scene.run()
    assert code == 1, said
    scene.check()
