"""`--max-failures` counts what fails since the command began, by however many processes."""

import pytest
from behaviour.stage import Stage
from ways import by_this_process

from runner.core.model import JobState


@pytest.mark.parametrize("processes", [1, 2])
def test_more_failures_than_allowed_stop_the_batch(stage: Stage, processes: int) -> None:
    stage.server.set(duration="fixed:0.3")
    lines = stage.lines(60, fate="failed")
    carried = stage.run(lines, max_failures="10%", processes=processes, concurrency=4)
    assert carried.exit_code == 3
    assert "of 60 jobs failed, more than --max-failures 10%" in carried.ending.stopped
    assert "mend the cause" in carried.ending.remedy
    assert 6 < carried.batches[0].of(JobState.FAILED) < 50


def test_what_had_failed_before_the_command_does_not_count(stage: Stage) -> None:
    assert stage.run(stage.lines(5, fate="failed")).exit_code == 1
    carried = stage.run([*stage.lines(5, fate="failed"), stage.line("more")], max_failures="3")
    assert carried.exit_code == 1, carried.ending.stopped
    assert carried.batches[0].whole


@by_this_process
def test_a_count_stops_at_the_one_too_many(stage: Stage) -> None:
    carried = stage.run(stage.lines(30, fate="failed"), max_failures="3", concurrency=1)
    assert carried.exit_code == 3
    assert "4 jobs failed, more than --max-failures 3" in carried.ending.stopped
    assert carried.batches[0].of(JobState.FAILED) in (4, 5)
