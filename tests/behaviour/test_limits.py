"""Limits: kept, waited for, and never taken for failures."""

from itertools import pairwise

import pytest
from behaviour.stage import Stage, most_in_a_window
from ways import PROCESSES


def check_told(stage: Stage, capfd: pytest.CaptureFixture[str], words: str) -> None:
    """A line with these words was said once: with several processes, by one of them at least."""
    lines = [*stage.warnings, *capfd.readouterr().err.splitlines()]
    told = [line for line in lines if words in line]
    assert 1 <= len(told) <= max(1, PROCESSES), lines


@pytest.mark.on_both
def test_no_window_holds_more_than_the_limit_and_the_pace_is_even(stage: Stage) -> None:
    carried = stage.run(stage.lines(60), rpm=1200.0, window=1.5)
    assert carried.exit_code == 0, stage.warnings
    times = [at for at, _ in stage.arrivals()]
    assert len(times) == 60
    # The server's stamps hold the machine's own delays; a third of a burst is far above them.
    assert most_in_a_window(times, 1.5) <= 30 * 1.2


def test_a_window_that_differs_from_the_servers_is_told_and_the_longer_holds(
    stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.server.set(limit=200, window=10.0)
    carried = stage.run(stage.lines(40), window=15.0)
    assert carried.exit_code == 0, stage.warnings
    check_told(stage, capfd, "--window 15 differs from the 10 s")
    with stage.runner() as runner:
        (progress,) = runner.status()
    creates = next(use for use in progress.budgets if use.kind == "creates")
    assert (creates.limit, creates.window_s, creates.source) == (200.0, 15.0, "header")


def test_a_window_shorter_than_the_servers_is_told(
    stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.server.set(limit=400, window=30.0)
    carried = stage.run(stage.lines(20), rpm=600.0, window=2.0)
    assert carried.exit_code == 0, stage.warnings
    check_told(stage, capfd, "--window 2 is shorter than the server's")


def test_one_refusal_stops_everybody_for_as_long_as_it_names(stage: Stage) -> None:
    first = stage.line("first", fault="rate_429_seconds")
    carried = stage.run([first, *stage.lines(49)], concurrency=50, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(50)
    assert stage.seen("create_requests") == 51
    # Those that were on their way arrive at once; then nothing until the gate opens.
    times = [at for at, _ in stage.arrivals()]
    assert max(later - at for at, later in pairwise(times)) > 0.5


def test_what_waited_for_a_gate_to_open_goes_at_the_pace_and_not_all_at_once(stage: Stage) -> None:
    first = stage.line("first", fault="rate_429_seconds")
    lines = [first, *stage.lines(49)]
    carried = stage.run(lines, rpm=600.0, window=2.0, concurrency=50, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(50)
    times = [at for at, _ in stage.arrivals()]
    assert max(later - at for at, later in pairwise(times)) > 0.5
    # All that waited at once would be thirty more.
    assert most_in_a_window(times, 2.0) <= 20 * 1.4


def test_a_refusal_for_the_pace_is_waited_for_and_uses_up_no_try(stage: Stage) -> None:
    refused = stage.line("refused", fault="rate_429:2")
    lines = [*stage.lines(20, "before"), refused, *stage.lines(9, "behind")]
    carried = stage.run(lines, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    assert stage.seen("429", "answers") == 2
    stage.check_once_each(30)


@pytest.mark.parametrize("told", ["Wed, 21 Oct 2015 07:28:00 GMT", "-1", "abc"])
def test_whatever_a_refusal_says_of_the_wait_the_work_goes_on(stage: Stage, told: str) -> None:
    stage.server.set(retry_after=told)
    odd = stage.line("odd", fault="rate_429_seconds")
    carried = stage.run([*stage.lines(4), odd])
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(5)
    assert stage.seen("create_requests") == 6


@pytest.mark.parametrize("told", ["1800", "9999999999"])
def test_a_wait_that_makes_going_on_pointless_ends_with_3_and_names_the_time(
    stage: Stage, told: str
) -> None:
    stage.server.set(retry_after=told)
    odd = stage.line("odd", fault="rate_429_seconds")
    carried = stage.run([*stage.lines(4), odd], stop_after=20.0)
    assert carried.exit_code == 3
    assert "asks to wait" in carried.ending.stopped
    assert "UTC" in carried.ending.remedy
    # The gate is stored: the same command at once asks for nothing and says the same.
    asked = stage.seen("create_requests")
    again = stage.run(stop_after=20.0)
    assert (again.exit_code, stage.seen("create_requests")) == (3, asked)
    assert "asks to wait" in again.ending.stopped


def test_a_long_wait_is_said_at_once(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    stage.server.set(retry_after="300")
    odd = stage.line("odd", fault="rate_429_seconds")
    carried = stage.run([*stage.lines(4), odd], stop_after=3.0)
    assert carried.exit_code == 3
    check_told(stage, capfd, "no create is sent before")
