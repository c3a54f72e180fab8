"""What is said at the end adds up to what is in the rows."""

from collections import Counter

from behaviour.stage import Stage, parts_of

from runner.core.model import JobState


def test_causes_are_counted_and_sum_up_to_the_rows_that_did_not_succeed(stage: Stage) -> None:
    lines = [
        *stage.lines(20),
        *stage.lines(4, "broken", fate="failed"),
        *stage.lines(2, "cut", fate="incomplete"),
        *stage.lines(3, "refused", fate="refused"),
    ]
    carried = stage.run(lines)
    assert carried.exit_code == 1
    assert carried.rows == len(lines)
    (progress,) = carried.batches
    causes = {(cause.status, cause.code): cause.jobs for cause in progress.causes}
    assert causes.get(("failed", "server_error")) == 4
    assert sum(jobs for (status, _), jobs in causes.items() if status == "incomplete") == 2
    assert sum(jobs for (status, _), jobs in causes.items() if status == "rejected") == 3
    assert sum(causes.values()) == progress.of(JobState.FAILED) == 9
    by_end = Counter(stage.ends().values())
    assert by_end == {f"{count.state} {count.status}": count.jobs for count in progress.counts}
    assert all(parts_of(row["error"]) for row in stage.rows() if row["status"] == "failed")


def test_a_usage_limit_half_way_is_no_completed_run(stage: Stage) -> None:
    lines = [*stage.lines(12), *stage.lines(8, "beyond", fault="usage_limit_400")]
    carried = stage.run(lines, concurrency=4)
    assert carried.exit_code == 3
    (progress,) = carried.batches
    assert not progress.whole
    assert progress.of(JobState.FAILED) == 0
    assert len(stage.rows()) == progress.at_rest
    assert "regain access" in progress.stopped
