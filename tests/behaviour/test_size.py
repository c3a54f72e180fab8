"""Many jobs, slow answers, high limits: work is bounded, and no wait of ours is an error."""

import asyncio
import json
import os
import threading

import pytest
from behaviour.stage import Stage
from ways import LARGE, PROCESSES, both_senders, by_this_process

from runner.app import Commands
from runner.core.view import View

JOBS, LATENCY = (20_000, "fixed:0.2") if LARGE else (1500, "fixed:0.02")
AT_ONCE, HELD = (500, "fixed:10") if LARGE else (100, "fixed:0.4")


@by_this_process
@pytest.mark.timeout(900 if LARGE else 180)
def test_many_jobs_are_carried_by_a_crew_that_does_not_grow_with_them(stage: Stage) -> None:
    """C67: a task a request once made the total time-out count the wait for a turn."""
    stage.server.set(duration="fixed:0.05", latency=LATENCY)
    crowd: list[int] = []

    def see(_runner: Commands, _view: View) -> None:
        crowd.append(len(asyncio.all_tasks()))

    # A request's time is far below the time that the last job waits for its turn.
    carried = stage.run(stage.lines(JOBS), see, concurrency=50, timeout=2.0)
    assert carried.exit_code == 0, stage.warnings[:5]
    stage.check_once_each(JOBS)
    assert stage.seen("create_requests") == JOBS
    assert {row["attempts"] for row in stage.rows()} == {1}
    assert max(view.in_flight for view in stage.views) <= 50
    assert max(crowd) < 250


def test_the_first_run_is_made_before_the_last_line_is_read(stage: Stage) -> None:
    """The last line comes only once the server has made a run."""
    *most, last = (json.dumps(line).encode() + b"\n" for line in stage.lines(1200))
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb", buffering=0) as manifest:
            manifest.write(b"".join(most))
            while not stage.runs() and not given_up.wait(0.05):
                pass
            manifest.write(last)

    given_up = threading.Event()
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with stage.runner(batch=("piped",)) as runner, os.fdopen(reading, "rb") as stdin:
            carried = runner.run(["-"], stdin, out=str(stage.folder / "o.jsonl"))
    finally:
        given_up.set()
        feeder.join()
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(1200)


@both_senders
@pytest.mark.timeout(300 if LARGE else 180)
def test_slow_answers_to_many_at_once_are_no_trouble_of_the_pool(stage: Stage, http: str) -> None:
    """C70: with more requests than connections a healthy server once met errors."""
    stage.server.set(latency=HELD, duration="fixed:0.05")
    carried = stage.run(stage.lines(AT_ONCE), http=http, concurrency=AT_ONCE)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(AT_ONCE)
    assert {row["attempts"] for row in stage.rows()} == {1}
    assert stage.seen("lists") == 0
    if PROCESSES < 2:
        # More than a batch begins with; how many more a view meets is the machine's affair.
        assert max(view.in_flight for view in stage.views) > 20


@by_this_process
def test_a_high_limit_is_used_and_the_view_names_what_holds_back(stage: Stage) -> None:
    stage.server.set(duration="fixed:0.5")
    carried = stage.run(stage.lines(180), rpm=5000.0)
    assert carried.exit_code == 0, stage.warnings
    assert max(view.in_flight for view in stage.views) > 30
    assert {view.limits for view in stage.views if view.in_flight} & {"rate", "concurrency"}
