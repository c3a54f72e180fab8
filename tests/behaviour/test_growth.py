"""Processes that are started while the work goes on: told, sharing the work, gone with it."""

import os
import signal
from pathlib import Path

import pytest
from behaviour.stage import Stage

from runner import carrying
from runner.app import Commands
from runner.core import growing
from runner.core.view import View


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any look for one that calls for help: this machine may be as busy as it likes."""
    monkeypatch.setattr(growing, "BUSY", 0.0)
    monkeypatch.setattr(growing, "IDLE_CORES", -1.0)
    monkeypatch.setattr(growing, "WORTH_S", 0.0)
    monkeypatch.setattr(growing, "WRITING", 2.0)
    monkeypatch.setattr(carrying, "cores", lambda: 2)


def children() -> set[int]:
    """Return the processes that this one has started and that live, as the kernel lists them."""
    told = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return {int(pid) for pid in told.split()}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists children by /proc")
@pytest.mark.usefixtures("eager")
def test_one_more_process_is_started_and_told_and_shares_the_work(stage: Stage) -> None:
    stage.server.set(duration="fixed:0.5")
    most = 0
    before = children()

    def see(runner: Commands, _view: View) -> None:
        nonlocal most
        batches = runner.store.batches()
        if most < 2 and batches:
            most = max(most, len(runner.store.progress(batches[0].id).workers))
            if most == 2:
                stage.server.set(duration="fixed:0.02")

    carried = stage.run(stage.lines(200), see, concurrency=3, processes=None)
    assert carried.exit_code == 0, stage.warnings
    told = [line for line in stage.warnings if line.startswith("one more process starts")]
    assert len(told) == 1
    assert "--processes 1 keeps to 1" in told[0]
    assert most == 2
    assert children() <= before
    stage.check_once_each(200)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists children by /proc")
@pytest.mark.usefixtures("eager")
def test_a_helper_that_is_killed_is_replaced_and_told(stage: Stage) -> None:
    stage.server.set(duration="fixed:0.5")
    before = children()
    killed: list[int] = []

    def see(runner: Commands, _view: View) -> None:
        batches = runner.store.batches()
        workers = runner.store.progress(batches[0].id).workers if batches else ()
        helpers = [w.pid for w in workers if w.pid != os.getpid() and w.holds]
        if helpers and not killed:
            killed.append(helpers[0])
            os.kill(helpers[0], signal.SIGKILL)
            stage.server.set(duration="fixed:0.02")

    carried = stage.run(stage.lines(200), see, concurrency=3, processes=None)
    assert carried.exit_code == 0, stage.warnings
    assert killed
    assert any(f"process {killed[0]} died by signal 9" in line for line in stage.warnings)
    assert children() <= before
    stage.check_once_each(200)


@pytest.mark.usefixtures("eager")
def test_a_number_that_was_asked_for_holds(stage: Stage) -> None:
    stage.server.set(duration="fixed:0.5")
    carried = stage.run(stage.lines(40), concurrency=6, processes=1)
    assert carried.exit_code == 0, stage.warnings
    assert stage.warnings == []
