"""C14: tokens a minute: reserved, learned from headers, waited for; one job may be too large for all."""

from behaviour.stage import Stage, parts_of
from ways import PROCESSES


def test_a_wait_for_tokens_is_no_failure_and_the_big_one_is_not_left_for_last(
    stage: Stage,
) -> None:
    stage.server.set(token_limit=3000, window=1.0)
    lines = stage.lines(16)
    for line in lines:
        line["max_completion_tokens"] = 256
    big = stage.line("big")
    big |= {"assistant_id": "asst_big", "instructions": "word " * 1600}
    big["max_completion_tokens"] = 600
    lines.insert(4, big)
    carried = stage.run(lines, tpm=180_000.0, window=1.0, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(17)
    order = [str(parts_of(run["metadata"])["case"]) for run in stage.runs().values()]
    assert order.index(f"{stage.number}-big") < 12


def test_a_big_job_among_small_ones_of_one_assistant_is_not_left_for_last(stage: Stage) -> None:
    stage.server.set(token_limit=3000, window=1.0)
    lines = stage.lines(24)
    for line in lines:
        line["max_prompt_tokens"], line["max_completion_tokens"] = 256, 44
    big = stage.line("big")
    big["max_prompt_tokens"], big["max_completion_tokens"] = 2000, 700
    lines.insert(4, big)
    carried = stage.run(lines, tpm=180_000.0, window=1.0, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(25)
    order = [str(parts_of(run["metadata"])["case"]) for run in stage.runs().values()]
    # Several processes each have a line of their own; in none is it passed by all that came later.
    assert order.index(f"{stage.number}-big") < (15 if PROCESSES < 2 else 24)


def test_headers_teach_the_tokens_limit_and_refusals_for_tokens_no_rate(stage: Stage) -> None:
    stage.server.set(token_limit=3000, window=1.0)
    lines = stage.lines(40)
    for line in lines:
        line["max_prompt_tokens"], line["max_completion_tokens"] = 256, 44
    carried = stage.run(lines, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(40)
    with stage.runner() as runner:
        (progress,) = runner.status()
    told = {use.kind: (use.limit, use.source) for use in progress.budgets}
    assert told["tokens"] == (3000.0, "header")
    assert told["creates"] == (None, "")


def test_a_job_larger_than_the_servers_window_does_not_hold_up_the_others(stage: Stage) -> None:
    stage.server.set(token_limit=1000, window=1.0)
    lines = stage.lines(6)
    for line in lines:
        line["max_prompt_tokens"], line["max_completion_tokens"] = 256, 44
    lines[2]["max_prompt_tokens"] = 2000
    carried = stage.run(lines, tpm=60_000.0, window=1.0, stop_after=12.0)
    ends = stage.ends()
    assert ends.pop("job-2") == "failed rejected"
    assert set(ends.values()) == {"succeeded completed"}
    assert carried.exit_code == 1
