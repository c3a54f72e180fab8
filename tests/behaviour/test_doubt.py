"""A create whose outcome is unknown: looked up, adopted or sent again, one run each."""

import socket
from contextlib import ExitStack

import pytest
from behaviour.stage import Stage
from cutting_proxy import CuttingProxy
from simulator_process import SimulatorProcess
from ways import by_this_process

from runner.app import Commands
from runner.core.view import View

MADE = (
    "stall_after",
    "drop_after",
    "reset_after",
    "truncate",
    "garbage_after",
    "no_id_after",
    "error_500_after",
    "gateway_504_after",
)
NOT_MADE = (
    "stall_before",
    "close_before",
    "reset_before",
    "error_500",
    "error_503",
    "html_502",
    "timeout_408",
    "conflict_409",
)


@pytest.mark.on_both
def test_a_run_whose_answer_was_lost_is_adopted_and_never_asked_for_again(stage: Stage) -> None:
    lines = [stage.line(f"{fault}-{i}", fault=fault) for fault in MADE for i in range(3)]
    carried = stage.run(lines)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(len(lines))
    assert stage.seen("create_requests") == len(lines)
    assert stage.seen("lists") >= len(lines)
    assert {row["attempts"] for row in stage.rows()} == {1}


@pytest.mark.parametrize("own", [True, False])
def test_where_the_tag_is_dropped_a_lost_answer_is_no_second_run(stage: Stage, own: bool) -> None:
    lines = [*stage.lines(8), *stage.lines(6, "lost", fault="drop_after")]
    for line in lines if own else []:
        del line["thread_id"]
    stage.server.set(no_tags=True)
    try:
        carried = stage.run(lines)
    finally:
        stage.server.set(no_tags=False)
    assert len(stage.runs()) == len(lines)
    ends = set(stage.ends().values())
    # On a thread that others may use nobody can tell whose a run is.
    assert ends == ({"succeeded completed"} if own else {"succeeded completed", "failed in_doubt"})
    assert carried.exit_code == (0 if own else 1)
    assert len([line for line in stage.warnings if "does not give the metadata" in line]) == 1


def test_the_first_create_of_all_is_found_on_its_own_thread_where_the_tag_is_dropped(
    stage: Stage,
) -> None:
    line = stage.line("first", fault="drop_after")
    del line["thread_id"]
    stage.server.set(no_tags=True)
    try:
        assert stage.run([line]).exit_code == 0
    finally:
        stage.server.set(no_tags=False)
    assert len(stage.runs()) == 1


def test_half_an_answer_is_no_answer_and_the_job_says_how_its_run_was_found(stage: Stage) -> None:
    stage.run([stage.line("half", fault="truncate")])
    with stage.runner() as runner:
        (found,) = runner.show("half")
    assert [seen.why for seen in found.job.attempts][-1] == "adopted"
    assert {seen.run_id for seen in found.job.attempts} >= {stage.of("half")["run_id"]}
    assert stage.seen("create_requests") == 1


def test_what_surely_made_nothing_is_known_only_after_a_look_and_a_wait(stage: Stage) -> None:
    lines = [stage.line(f"{fault}-{i}", fault=fault) for fault in NOT_MADE for i in range(2)]
    carried = stage.run(lines)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(len(lines))
    assert stage.seen("lists") >= len(lines)
    assert {row["attempts"] for row in stage.rows()} == {2}


def test_a_run_made_late_is_found_before_anything_is_sent_again(stage: Stage) -> None:
    carried = stage.run(stage.lines(6, fault="late"))
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(6)
    assert stage.seen("create_requests") == 6


@by_this_process
def test_lateness_is_kept_shown_and_raises_the_wait_of_every_later_command(stage: Stage) -> None:
    stage.server.set(late=0.6)
    carried = stage.run(stage.lines(3, fault="late"))
    stage.check_once_each(3)
    raised = [line for line in stage.warnings if "the doubt wait is now" in line]
    assert len(raised) >= 1, stage.warnings
    late_ms = carried.batches[0].lateness_ms
    assert 500 < late_ms < 10_000
    with stage.runner() as runner:
        assert [progress.lateness_ms for progress in runner.status()] == [late_ms]
    # A later command's doubt that no look can settle waits by what the first one learned.
    stage.server.set(late=0.3)
    began = stage.seen("create_requests")
    stage.run([*stage.lines(3, fault="late"), stage.line("later", fault="reset_before")])
    assert stage.seen("create_requests") - began == 2
    with stage.runner() as runner:
        (found,) = runner.show("later")
    first, second = (seen for seen in found.job.attempts if seen.intent_ms)
    assert second.intent_ms - first.closed_ms >= 3 * late_ms


def test_hours_that_nobody_looked_are_no_lateness(stage: Stage) -> None:
    stage.server.set(stall=30.0, duration="fixed:5")
    stopped = stage.run(stage.lines(3, fault="stall_after"), stop_after=0.5, grace=0.2)
    assert stopped.exit_code == 3
    # The server's own clock goes on; the next command's first look finds what was made long ago.
    stage.server.set(stall=0.3)
    carried = stage.run(doubt_wait=2.0)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(3)
    assert carried.batches[0].lateness_ms == 0
    assert [line for line in stage.warnings if "the doubt wait is now" in line] == []


def test_a_refused_connection_was_never_sent_and_goes_again_without_a_look(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    doors: list[CuttingProxy] = []

    def found_nobody(runner: Commands, i: int) -> bool:
        (found,) = runner.show(f"job-{i}")
        return any(attempt.why == "unsent" for attempt in found.job.attempts)

    def see(runner: Commands, view: View) -> None:
        # The door opens once every job has found nobody.
        if doors or sum(count.jobs for count in view.progress.counts) < 10:
            return
        if all(found_nobody(runner, i) for i in range(10)):
            doors.append(stack.enter_context(CuttingProxy(behind, port=port)))

    with SimulatorProcess("--duration", "fixed:0.05") as server, ExitStack() as stack:
        behind = int(server.url.split(":")[2].split("/")[0])
        carried = stage.run(stage.lines(10), see, base_url=f"http://127.0.0.1:{port}/v1")
        audit = server.audit()
    assert carried.exit_code == 0, stage.warnings
    assert (audit.number("runs"), audit.repeated("tag")) == (10, {})
    assert audit.count("lists") == 0
    # An attempt is an intent: the first found nobody, and is told so.
    assert {row["attempts"] for row in stage.rows()} == {2}


@pytest.mark.parametrize("http", ["httpx", "aiohttp"])
def test_connections_that_the_server_closes_while_idle_cost_no_job(stage: Stage, http: str) -> None:
    stage.server.set(close_idle=0.1)
    # One create in 0.15 s, so that the kept connection has always been closed; every second run
    # is made before its connection dies.
    lines = [stage.line(f"job-{i}", **({"fault": "drop_after"} if i % 2 else {})) for i in range(8)]
    carried = stage.run(lines, rpm=400.0, window=0.15, http=http)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(8)
