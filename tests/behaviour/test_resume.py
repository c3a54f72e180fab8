"""The same command again: what was interrupted goes on, what is finished asks for nothing."""

import signal
import sqlite3

import pytest
from behaviour.stage import Stage
from until import until

from runner.app import Commands
from runner.core.model import JobState
from runner.core.view import View


@pytest.mark.on_both
def test_an_interrupted_run_ends_with_3_and_claims_no_more_than_is_done(stage: Stage) -> None:
    pressed: list[int] = []

    def see(_runner: Commands, view: View) -> None:
        if view.progress.at_rest >= 9 and not pressed:
            pressed.append(view.progress.at_rest)
            signal.raise_signal(signal.SIGINT)

    carried = stage.run(stage.lines(30, fate="slow:0.3"), see, concurrency=4)
    assert pressed
    assert (carried.exit_code, carried.ending.stopped) == (3, "interrupted")
    assert "same command" in carried.ending.remedy
    (progress,) = carried.batches
    assert not progress.whole
    assert len(stage.rows()) == progress.at_rest < 30
    made = len(stage.runs())
    assert stage.run().exit_code == 0
    assert made < 30
    stage.check_once_each(30)


def test_a_finished_batch_asks_the_server_for_nothing_and_writes_the_same_bytes(
    stage: Stage,
) -> None:
    lines = [*stage.lines(6), stage.line("failed", fate="failed")]
    assert stage.run(lines).exit_code == 1
    out = stage.folder / "o.jsonl"
    written, asked = out.read_bytes(), stage.seen("requests")
    assert stage.run().exit_code == 1
    assert out.read_bytes() == written
    out.unlink()
    assert stage.run().exit_code == 1
    assert out.read_bytes() == written
    assert stage.seen("requests") == asked


def test_a_finished_batch_without_failures_is_a_success_every_time(stage: Stage) -> None:
    codes = [stage.run(stage.lines(3)).exit_code for _ in range(3)]
    assert codes == [0, 0, 0]
    stage.check_once_each(3)


def test_a_resume_after_a_pause_does_not_take_the_pause_for_the_runs_duration(
    stage: Stage,
) -> None:
    def see(_runner: Commands, view: View) -> None:
        if view.progress.of(JobState.RUNNING) >= 15:
            signal.raise_signal(signal.SIGINT)

    lines = stage.lines(100, fate="slow:1")
    assert stage.run(lines, see, concurrency=40, grace=0.1).exit_code == 3
    with sqlite3.connect(stage.folder / "r.db") as database:
        # An hour passes: all the runs under way are at their end long before they are looked at.
        moved = database.execute(
            "UPDATE job SET created_ms = created_ms - 3600000 WHERE state = 2"
        ).rowcount
    assert moved >= 8
    until(lambda: all(run["status"] == "completed" for run in stage.runs().values()), 20)
    resumed = stage.run(concurrency=40, stop_after=60.0)
    assert (resumed.exit_code, resumed.ending.stopped) == (0, "")
    stage.check_once_each(100)
