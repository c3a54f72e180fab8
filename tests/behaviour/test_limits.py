"""Limits: kept, waited for, and never taken for failures."""

from itertools import pairwise

import pytest
from behaviour.stage import Stage, most_in_a_window, parts_of


def test_no_window_holds_more_than_the_limit_and_the_pace_is_even(stage: Stage) -> None:
    stage.server.set(limit=20, window=1.0)
    carried = stage.run(stage.lines(60), rpm=1200.0, window=1.0)
    assert carried.exit_code == 0, stage.warnings
    times = [at for at, _ in stage.arrivals()]
    assert len(times) == 60
    assert stage.seen("429", "answers") == 0
    assert most_in_a_window(times, 1.0) <= 20
    # Even pacing takes (n - 1) · W / L; what is far beyond it would be a limit left unused.
    assert times[-1] - times[0] <= 1.6 * (60 - 1) * 1.0 / 20


def test_one_refusal_stops_everybody_for_as_long_as_it_names(stage: Stage) -> None:
    stage.server.set(retry_after="2")
    first = stage.line("first", fault="rate_429_seconds")
    carried = stage.run([first, *stage.lines(49)], concurrency=50, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    assert set(stage.ends().values()) == {"succeeded completed"}
    arrivals = stage.arrivals()
    refused = next(at for at, status in arrivals if status == 429)
    after = [at for at, _ in arrivals if at >= refused]
    # Those that were on their way arrive at once; then nothing until the gate opens.
    assert max(later - at for at, later in pairwise(after)) > 1
    assert after[-1] - refused >= 2
    assert len(arrivals) == 51


def test_refused_for_the_pace_is_waited_for_and_uses_up_no_try(stage: Stage) -> None:
    stage.server.set(faults={"rate_429": 0.33})
    carried = stage.run(stage.lines(30), max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    assert stage.seen("429", "answers") > 0
    stage.check_once_each(30)


@pytest.mark.parametrize(
    "told", ["Wed, 21 Oct 2015 07:28:00 GMT", "-1", "abc", "", "1.5"], ids=repr
)
def test_whatever_a_refusal_says_of_the_wait_the_work_goes_on(stage: Stage, told: str) -> None:
    stage.server.set(retry_after=told)
    first = stage.line("first", fault="rate_429_seconds")
    carried = stage.run([first, *stage.lines(4)])
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(5)
    assert stage.seen("create_requests") == 6


@pytest.mark.parametrize("told", ["1800", "9999999999"])
def test_a_wait_that_makes_going_on_pointless_ends_with_3_and_names_it(
    stage: Stage, told: str
) -> None:
    stage.server.set(retry_after=told)
    first = stage.line("first", fault="rate_429_seconds")
    carried = stage.run([first, *stage.lines(4)], stop_after=6.0)
    assert carried.exit_code == 3
    assert "--stop-after" not in carried.ending.stopped
    assert "429" in carried.ending.stopped


def test_a_wait_for_tokens_is_no_failure_and_the_big_one_is_not_left_for_last(
    stage: Stage,
) -> None:
    stage.server.set(token_limit=1000, window=1.0)
    lines = stage.lines(24)
    for line in lines:
        line["max_prompt_tokens"], line["max_completion_tokens"] = 256, 44
    big = stage.line("big")
    big["max_prompt_tokens"], big["max_completion_tokens"] = 600, 300
    lines.insert(4, big)
    carried = stage.run(lines, tpm=60_000.0, window=1.0, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(25)
    order = [str(parts_of(run["metadata"])["case"]) for run in stage.runs().values()]
    assert order.index(f"{stage.number}-big") < 12


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
