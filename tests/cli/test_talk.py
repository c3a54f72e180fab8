"""How the work is told, to a terminal, a log and a program."""

import json
from collections.abc import Callable
from io import StringIO

import pytest

from runner.cli.talk import Manner, Teller, manner_of
from runner.config import load
from runner.core.batch import Count
from runner.core.model import JobState
from runner.core.progress import Progress
from runner.core.view import View

LIVE = Manner(live=True, colour=True)
PLAIN = Manner()


def view(done: int, batch: str = "sweep") -> View:
    counts = (
        Count(JobState.QUEUED, "", 10 - done),
        Count(JobState.SUCCEEDED, "completed", done),
    )
    progress = Progress(batch, "openai", "https://a.example/v1", counts, queued_whole=True)
    return View(progress, 0, 100, 0.0, None, "", 1.0)


class Steps:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def teller(manner: Manner, now_s: Callable[[], float]) -> tuple[Teller, StringIO]:
    stream = StringIO()
    return Teller(stream, manner, now_s, lambda: 1_772_330_645.5), stream


@pytest.mark.parametrize(
    ("terminal", "env", "flags", "manner"),
    [
        (True, {}, {}, LIVE),
        (False, {}, {}, PLAIN),
        (True, {"NO_COLOR": "1"}, {}, PLAIN),
        (True, {"NO_COLOR": ""}, {}, LIVE),
        (True, {"CI": "true"}, {}, PLAIN),
        (True, {"CI": "true", "FORCE_COLOR": "1"}, {}, Manner(colour=True)),
        (False, {"FORCE_COLOR": "1"}, {}, Manner(colour=True)),
        (False, {"FORCE_COLOR": "0"}, {}, PLAIN),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, {}, PLAIN),
        (True, {"TERM": "dumb"}, {}, PLAIN),
        (True, {}, {"quiet": True}, Manner(quiet=True)),
        (True, {}, {"log_json": True}, Manner(json=True)),
        (False, {"FORCE_COLOR": "1"}, {"log_json": True}, Manner(json=True)),
    ],
)
def test_the_manner_follows_the_terminal_and_what_was_asked_for(
    terminal: bool, env: dict[str, str], flags: dict[str, bool], manner: Manner
) -> None:
    assert manner_of(load(flags, env), terminal=terminal) == manner


def test_a_moving_line_is_drawn_over_at_most_four_times_a_second() -> None:
    clock = Steps()
    told, stream = teller(LIVE, clock)
    for done in range(10):
        told.tick(view(done))
        clock.now_s += 0.1
    assert stream.getvalue().count("\r") == 4
    assert "\n" not in stream.getvalue()


def test_a_warning_does_not_tear_the_moving_line() -> None:
    told, stream = teller(LIVE, Steps())
    told.tick(view(3))
    told.warn("the disk is slow")
    told.rest()
    line = "sweep: 3/10 done, 7 queued, 1.0 s"
    assert stream.getvalue() == (
        f"\r\x1b[K{line}\r\x1b[K\x1b[33mrunner: warning: the disk is slow\x1b[0m\n"
        f"\r\x1b[K{line}\r\x1b[K"
    )


def test_elsewhere_one_plain_line_is_told_every_five_seconds() -> None:
    clock = Steps()
    told, stream = teller(PLAIN, clock)
    for done in range(10):
        told.tick(view(done))
        clock.now_s += 1.0
    assert stream.getvalue() == (
        "sweep: 0/10 done, 10 queued, 1.0 s\nsweep: 5/10 done, 5 queued, 5 queued, 1.0 s\n"
    ).replace("5 queued, 5 queued", "5 queued")


def test_objects_are_one_a_line_with_time_level_and_event() -> None:
    told, stream = teller(Manner(json=True), Steps())
    told.warn("line one\nline two")
    told.tick(view(4))
    told.say(["4 of 10", "go on"], "31", exit_code=3)
    told.fail("no such file")
    warning, progress, end, error = map(json.loads, stream.getvalue().splitlines())
    assert warning == {
        "time": "2026-03-01T02:04:05.500Z",
        "level": "warning",
        "event": "warning",
        "text": "line one\nline two",
    }
    assert (progress["event"], progress["jobs"], progress["at_rest"]) == ("progress", 10, 4)
    assert (end["event"], end["text"], end["exit_code"]) == ("summary", "4 of 10\ngo on", 3)
    assert (error["level"], error["text"]) == ("error", "no such file")


def test_quiet_keeps_warnings_and_errors() -> None:
    told, stream = teller(Manner(quiet=True), Steps())
    told.tick(view(1))
    told.counted(1000)
    told.warn("twice")
    told.fail("no such file")
    assert stream.getvalue() == "runner: warning: twice\nrunner: no such file\n"


def test_several_batches_are_one_line() -> None:
    clock = Steps()
    told, stream = teller(PLAIN, clock)
    told.tick(view(1, "a"))
    clock.now_s += 5
    told.tick(view(3, "b"))
    assert stream.getvalue().splitlines()[1] == "2 batches: 4/20 done, 16 queued, 1.0 s"


def test_a_stream_whose_reader_is_gone_ends_nothing() -> None:
    told, stream = teller(PLAIN, Steps())
    stream.close()
    told.warn("nobody hears this")
    told.warn("nor this")
