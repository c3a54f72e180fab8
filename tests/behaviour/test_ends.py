"""Every way a run can end ends its job; those of the server's own making may be made anew."""

from behaviour.stage import Row, Stage, parts_of

from runner.core.model import JobState

ENDS = {
    "completed": "succeeded completed",
    "failed": "failed failed",
    "cancelled": "cancelled cancelled",
    "expired": "failed expired",
    "incomplete": "failed incomplete",
}


def earlier(row: Row) -> list[object]:
    runs = row["earlier_runs"]
    if not isinstance(runs, list):
        raise TypeError(runs)
    return runs


def test_each_of_the_five_ends_is_an_end_and_told_as_the_server_tells_it(stage: Stage) -> None:
    carried = stage.run([stage.line(fate, fate=fate) for fate in ENDS])
    assert carried.exit_code == 1
    assert stage.ends() == ENDS
    stage.check_once_each(5)
    run = parts_of(stage.of("incomplete")["run"])
    assert parts_of(run["incomplete_details"])["reason"] == "max_completion_tokens"


def test_a_run_that_met_the_servers_rate_limit_is_made_anew_after_the_named_wait(
    stage: Stage,
) -> None:
    lines = [
        stage.line("once", fate="rate_limit_exceeded:1"),
        stage.line("always", fate="rate_limit_exceeded"),
    ]
    # A limit of the user's own, so that the failed runs teach no slower pace.
    carried = stage.run(lines, retry_runs=1, rpm=6000.0)
    assert carried.exit_code == 1
    assert stage.ends() == {"once": "succeeded completed", "always": "failed failed"}
    assert len(stage.runs()) == 4
    for name in ("once", "always"):
        row = stage.of(name)
        (first,), second = map(parts_of, earlier(row)), parts_of(row["run"])
        assert first["thread_id"] == second["thread_id"]
        # The server's own stamps are whole seconds: "Try again in 2 seconds" is two of them.
        assert float(str(second["created_at"])) - float(str(first["failed_at"])) >= 1
    assert parts_of(stage.of("always")["error"])["code"] == "rate_limit_exceeded"


def test_without_being_asked_no_failed_run_is_made_anew_and_its_reason_is_told(
    stage: Stage,
) -> None:
    carried = stage.run([stage.line("once", fate="rate_limit_exceeded:1")])
    assert (carried.exit_code, stage.ends()) == (1, {"once": "failed failed"})
    assert parts_of(stage.of("once")["error"])["code"] == "rate_limit_exceeded"
    (cause,) = carried.batches[0].causes
    assert (cause.code, cause.jobs) == ("rate_limit_exceeded", 1)
    assert len(stage.runs()) == 1


def test_only_the_expired_runs_are_made_anew_and_what_they_cost_is_kept(stage: Stage) -> None:
    lines = [stage.line(f"job-{i}", **({"fate": "expired:1"} if i % 2 else {})) for i in range(8)]
    assert stage.run(lines).exit_code == 1
    expired = {f"job-{i}" for i in range(1, 8, 2)}
    assert {name for name, end in stage.ends().items() if end == "failed expired"} == expired
    for name in expired:
        run = parts_of(stage.of(name)["run"])
        assert run["status"] == "expired"
        assert parts_of(run["usage"])["total_tokens"]
    good = {name: stage.of(name) for name in stage.ends() if name not in expired}
    with stage.runner() as runner:
        assert runner.retry(None, statuses=frozenset({"expired"})).jobs == len(expired)
    again = stage.run()
    assert again.exit_code == 0, stage.warnings
    assert again.batches[0].of(JobState.SUCCEEDED) == 8
    assert again.batches[0].earlier_tokens > 0
    assert {name: stage.of(name) for name in good} == good
    assert all(len(earlier(stage.of(name))) == 1 for name in expired)
    assert len(stage.runs()) == 8 + len(expired)
