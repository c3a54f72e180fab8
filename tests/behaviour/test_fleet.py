"""The processes of one command, told to end at any moment of theirs."""

import os
import signal
import sys
from pathlib import Path

import anyio.lowlevel
import pytest
from behaviour.stage import Stage
from simulator_process import SimulatorProcess

from runner.app import Commands
from runner.core.view import View
from runner.work.processes import LONGEST_DRAIN_S, Fleet

UNTIL_KILLED = [sys.executable, "-c", "import time; time.sleep(600)"]
LIMIT_S = LONGEST_DRAIN_S / 2
"""Who was never told to end is killed after `LONGEST_DRAIN_S`."""


def children() -> str:
    """Return the processes that this one has started and that live, as the kernel lists them."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists children by /proc")
def test_a_process_that_is_being_started_when_all_are_told_to_drain_is_told_too() -> None:
    fleet = Fleet(
        UNTIL_KILLED,
        os.environ,  # noqa: TID251 - as Popen does
        1,
        at_rest=lambda: False,
        stopped_why=str,
        warn=lambda _line: None,
        grace_s=0.0,
    )
    before = children()

    async def stop_while_it_starts() -> None:
        while children() == before:
            await anyio.lowlevel.checkpoint()
        assert fleet.pids == []
        fleet.stop("interrupted")

    async def both() -> None:
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:
                group.start_soon(stop_while_it_starts)
                ending = await fleet.run()
        assert ending.stopped == "interrupted"

    anyio.run(both)
    assert children() == before


@pytest.mark.on_both
def test_several_processes_that_start_together_have_no_more_in_flight_than_all_may(
    tmp_path: Path, database: str
) -> None:
    made: set[int] = set()

    def see(runner: Commands, _view: View) -> None:
        batches = runner.store.batches()
        workers = runner.store.progress(batches[0].id).workers if batches else ()
        made.update(worker.pid for worker in workers if worker.holds)
        if len(made) == 3:
            server.set(duration="fixed:0.05")

    # A server of its own: it counts the most that it ever saw at once.
    with SimulatorProcess() as server:
        stage = Stage(tmp_path, server, database)
        server.set(duration="fixed:0.5")
        carried = stage.run(stage.lines(200), see, processes=3, concurrency=6)
        assert carried.exit_code == 0, stage.warnings
        stage.check_once_each(200)
        assert len(made) == 3
        assert 3 < server.audit().number("active_max") <= 6


def test_the_time_after_which_several_processes_stop_is_the_command_s_and_said(
    stage: Stage,
) -> None:
    carried = stage.run(stage.lines(4, fate="slow:3600"), processes=2, stop_after=2.0)
    assert carried.exit_code == 3
    assert carried.ending.stopped == "--stop-after 2 s have passed"
    assert stage.warnings == []


def test_what_one_of_several_processes_was_stopped_by_is_why_the_command_stops(
    stage: Stage,
) -> None:
    ended: list[int] = []

    def see(runner: Commands, _view: View) -> None:
        batches = runner.store.batches()
        workers = runner.store.progress(batches[0].id).workers if batches else ()
        if len(workers) == 2 and not ended:
            ended.append(workers[0].pid)
            os.kill(workers[0].pid, signal.SIGTERM)

    carried = stage.run(stage.lines(4, fate="slow:3600"), see, processes=2)
    assert (len(ended), carried.exit_code) == (1, 3)
    assert carried.ending.stopped == "interrupted"
    assert carried.ending.remedy == "run the same command again to resume"


@pytest.mark.on_both
def test_what_several_processes_have_in_flight_is_shown_and_that_all_places_are_taken(
    stage: Stage,
) -> None:
    stage.server.set(duration="fixed:0.4")
    carried = stage.run(stage.lines(36), processes=2, concurrency=4)
    assert carried.exit_code == 0, stage.warnings
    # A run's end and the next one's begin may stand in two commits, whichever comes first.
    assert 4 <= max(view.in_flight for view in stage.views) <= 6
    assert {view.ceiling for view in stage.views if view.limits == "concurrency"} == {4}
    assert {view.ceiling for view in stage.views if view.limits != "concurrency"} == {None}


def test_a_rate_that_holds_several_processes_back_is_shown(stage: Stage) -> None:
    carried = stage.run(stage.lines(40), processes=2, rpm=900.0, window=1.0)
    assert carried.exit_code == 0, stage.warnings
    assert "rate" in {view.limits for view in stage.views}


def test_a_server_that_holds_several_processes_back_is_shown(stage: Stage) -> None:
    refused = stage.line("refused", fault="rate_429_seconds")
    carried = stage.run([refused, *stage.lines(60)], processes=2)
    assert carried.exit_code == 0, stage.warnings
    assert "server" in {view.limits for view in stage.views}
