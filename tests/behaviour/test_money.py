"""Out of money: everything stops after a handful of calls, nothing fails, the same goes on later."""

import pytest
from behaviour.stage import Stage
from ways import PROCESSES, by_this_process

from runner.core.model import JobState


def test_a_quota_at_its_end_stops_the_batch_and_the_same_command_finishes_it(stage: Stage) -> None:
    made = stage.server.audit().count("creates")
    stage.server.set(quota_after=made + 11)
    carried = stage.run(stage.lines(40), concurrency=4)
    assert carried.exit_code == 3
    assert "quota" in carried.ending.stopped
    assert "credit" in carried.ending.remedy
    assert len(stage.runs()) == 10
    assert stage.seen("429", "answers") <= 5
    assert carried.batches[0].of(JobState.QUEUED) == 30
    assert carried.batches[0].stopped
    stage.server.set(quota_after=0)
    again = stage.run()
    assert (again.exit_code, again.batches[0].stopped) == (0, "")
    stage.check_once_each(40)


@pytest.mark.parametrize("fault", ["credit_400", "usage_limit_400", "quota_429"])
def test_refusals_for_money_fail_no_job_whatever_their_status(stage: Stage, fault: str) -> None:
    stage.server.set(faults={fault: 1.0})
    carried = stage.run(stage.lines(40), concurrency=5)
    assert carried.exit_code == 3
    assert carried.batches[0].of(JobState.QUEUED) == 40
    assert stage.seen("create_requests") <= 6
    stage.server.set(faults={})
    assert stage.run().exit_code == 0
    stage.check_once_each(40)


@by_this_process
def test_a_usage_limit_is_told_with_the_date_on_which_it_ends(stage: Stage) -> None:
    stage.server.set(faults={"usage_limit_400": 1.0})
    carried = stage.run(stage.lines(3))
    assert "2027-01-01" in carried.ending.stopped
    assert any("2027-01-01" in line for line in stage.warnings)


def test_equal_refusals_in_a_row_stop_the_batch_and_a_retry_mends_the_few(stage: Stage) -> None:
    stage.server.set(fate={"refused": 1.0})
    carried = stage.run(stage.lines(60), concurrency=5)
    failed = carried.batches[0].of(JobState.FAILED)
    assert carried.exit_code == 3
    # Each process counts its own refusals in a row.
    assert 10 <= failed <= 15 * max(1, PROCESSES)
    assert carried.batches[0].of(JobState.QUEUED) == 60 - failed
    assert "retry --status rejected" in carried.ending.remedy
    stage.server.set(fate={})
    with stage.runner() as runner:
        assert runner.retry(None, statuses=frozenset({"rejected"})).jobs == failed
    assert stage.run().exit_code == 0
    stage.check_once_each(60)


@pytest.mark.parametrize("stream", [False, True], ids=["polls", "streams"])
def test_refusals_among_creates_that_made_runs_stop_nothing(
    stage: Stage,
    stream: bool,
) -> None:
    lines = [
        stage.line(f"job-{i}", **({"fate": "refused:1"} if i % 4 == 3 else {})) for i in range(60)
    ]
    carried = stage.run(lines, stream=stream)
    assert carried.exit_code == 1, stage.warnings
    assert carried.batches[0].of(JobState.FAILED) == 15
    assert carried.batches[0].of(JobState.SUCCEEDED) == 45
