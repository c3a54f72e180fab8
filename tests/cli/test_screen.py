"""Screens, by literal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.carrying import Carried
from runner.cli.screen import (
    Ways,
    as_json,
    as_mapping,
    progress_line,
    queued_lines,
    results,
    status_lines,
    summary,
    together,
    worker_lines,
)
from runner.core.batch import Count, Queued
from runner.core.model import JobState, Usage
from runner.core.outcome import Cause as Why
from runner.core.outcome import Outcome
from runner.core.progress import BudgetUse, Cause, Progress, WorkerSeen
from runner.core.view import View
from runner.work.pool import Ending

BEGAN_MS = 1_772_330_640_000
NOW_MS = BEGAN_MS + 20_000
WAYS = Ways("runner run sweep.jsonl --rpm 60", " --db big.db", "out.jsonl")

HALF = Progress(
    "sweep",
    "openai",
    "https://a.example/v1",
    (
        Count(JobState.QUEUED, "", 8676),
        Count(JobState.RUNNING, "", 87),
        Count(JobState.SUCCEEDED, "completed", 1234),
        Count(JobState.FAILED, "rejected", 2),
        Count(JobState.FAILED, "exhausted", 1),
    ),
    queued_whole=True,
)
VIEW = View(HALF, 87, 100, 41.23, 212.6, "rate", 30.2)

ENDED = Progress(
    "sweep",
    "openai",
    "https://a.example/v1",
    (
        Count(JobState.SUCCEEDED, "completed", 168),
        Count(JobState.FAILED, "rejected", 26),
        Count(JobState.FAILED, "failed", 4),
        Count(JobState.FAILED, "incomplete", 2),
    ),
    causes=(
        Cause("rejected", "invalid_request_error", "You have reached your usage limits", 26),
        Cause("failed", "server_error", "Sorry", 4),
        Cause("incomplete", "incomplete", "", 2),
    ),
    tokens={"prompt": 1000, "completion": 200, "total": 1200, "cached": 500, "reasoning": 50},
    first_ms=BEGAN_MS + 1,
    last_ms=NOW_MS - 1,
    queued_whole=True,
)


def carried(progress: Progress, stopped: str = "", queued: Queued | None = None) -> Carried:
    return Carried((progress,), Ending(stopped), queued, BEGAN_MS, 20.0, progress.at_rest)


def test_the_progress_line_tells_done_failed_pace_time_left_limit_and_states() -> None:
    assert progress_line(VIEW, 200) == (
        "sweep: 1,237/10,000 done, 3 failed (rejected 2, exhausted 1), 41.2/s, 3 min 33 s left, "
        "limited by rate, 87 running, 8,676 queued, 30 s"
    )


def test_a_narrow_terminal_loses_what_matters_less() -> None:
    line = "sweep: 1,237/10,000 done, 3 failed (rejected 2, exhausted 1), 41.2/s"
    assert progress_line(VIEW, 80) == line


@given(st.integers(min_value=1, max_value=300))
def test_the_progress_line_never_wraps(width: int) -> None:
    assert len(progress_line(VIEW, width)) <= width


def test_a_total_that_still_grows_has_a_plus() -> None:
    growing = replace(VIEW, progress=replace(HALF, queued_whole=False), limits="concurrency")
    line = progress_line(growing, 200)
    assert line.startswith("sweep: 1,237/10,000+ done")
    assert "limited by concurrency (100)" in line


def test_what_is_not_known_of_several_processes_is_left_out() -> None:
    fleet = replace(VIEW, ceiling=None, limits="concurrency")
    assert ", limited by concurrency, " in progress_line(fleet, 200)
    told = as_mapping(fleet)
    assert (told["in_flight"], told["ceiling"], told["limits"]) == (87, None, "concurrency")


def test_several_batches_are_summed() -> None:
    both = together([VIEW, replace(VIEW, progress=replace(HALF, batch="other"), rate_s=8.77)])
    line = progress_line(both, 75)
    assert line == ("2 batches: 2,474/20,000 done, 6 failed (rejected 4, exhausted 2), 50.0/s")


def test_the_summary_counts_by_status_and_cause_and_names_the_next_command() -> None:
    flags = "--status failed --status incomplete --status rejected"
    queued = Queued(new=190, known=10, bad=1, vanished=2, vanished_names=("a", "b"))
    assert summary(carried(ENDED, queued=queued), WAYS) == [
        "sweep: 200 jobs done in 20 s, 10.0/s",
        "queued: 190 new, 10 known, 1 bad, 2 gone from the manifest (their jobs stay)",
        "gone: a, b",
        "  state      status      jobs",
        "  succeeded  completed    168",
        "  failed     rejected      26",
        "  failed     failed         4",
        "  failed     incomplete     2",
        "  all                     200",
        "failures by cause",
        "  26  rejected: invalid_request_error: You have reached your usage limits",
        "   4  failed: server_error: Sorry",
        "   2  incomplete",
        "tokens: 1,200 (1,000 prompt, of them 500 cached; 200 completion, of them 50 reasoning)",
        "results: out.jsonl, 200 rows",
        f"try them again: runner retry sweep --db big.db {flags}",
        "then: runner run sweep.jsonl --rpm 60",
    ]


def test_an_interrupted_run_says_what_is_done_and_left_and_the_command_to_go_on() -> None:
    ending = Ending("interrupted", "run the same command again to resume")
    end = Carried((HALF,), ending, None, BEGAN_MS, 20.0)
    lines = summary(end, WAYS)
    assert lines[0] == "interrupted: 1,237 done, 8,763 left, after 20 s"
    assert "go on: runner run sweep.jsonl --rpm 60" in lines


def test_a_batch_that_was_complete_before_says_that_nothing_was_sent() -> None:
    before = replace(ENDED, counts=ENDED.counts[:1], causes=(), first_ms=1, last_ms=BEGAN_MS - 1)
    lines = summary(carried(before), WAYS)
    assert lines[0] == "sweep: already complete: 168 jobs, nothing was sent"
    assert not any("retry" in line for line in lines)


def test_doubts_doubles_lateness_and_earlier_tokens_are_told() -> None:
    progress = replace(
        ENDED,
        counts=(Count(JobState.FAILED, "in_doubt", 1), Count(JobState.SUCCEEDED, "completed", 9)),
        causes=(),
        doubts=3,
        possible_doubles=2,
        doubles=1,
        lateness_ms=4100,
        earlier_tokens=300,
        blocked_by=(("row-7", "run_x"),),
    )
    lines = summary(carried(progress), WAYS)
    late = "greatest lateness: a run appeared 4.1 s after its create was given up"
    for line in (
        "3 jobs in doubt still: a create was sent and its answer never came",
        "2 jobs sent again after a doubt that nothing could settle",
        "1 run beside the jobs' own: `doubles` in the export",
        "row-7 waits for another's run run_x on its thread",
        f"{late}; --doubt-wait must be longer than that",
        "find out: runner audit sweep --db big.db",
    ):
        assert line in lines
    assert any(line.endswith(", and 300 of earlier runs") for line in lines)
    assert not any(line.startswith("try them again") for line in lines)


def test_without_out_the_summary_says_how_to_export() -> None:
    ways = replace(WAYS, out=None)
    last = summary(carried(ENDED), ways)[-1]
    assert last == "results: runner export sweep --db big.db --out FILE"


def test_a_name_that_a_shell_would_split_is_quoted() -> None:
    odd = replace(ENDED, batch="my sweep; rm")
    lines = summary(carried(odd), replace(WAYS, out=None))
    assert lines[-1] == "results: runner export 'my sweep; rm' --db big.db --out FILE"


def test_an_unchanged_manifest_is_told_in_one_line() -> None:
    told = queued_lines(Queued(known=12, unchanged=True))
    assert told == ["queued: 12 known, the manifest is unchanged"]


def test_results_are_a_table_of_plain_text() -> None:
    text = "Lisbon\n\x1b[31mis" + "x" * 90
    said = Outcome("b", "a", 1, JobState.SUCCEEDED, "completed", output_text=text)
    said = replace(said, usage=Usage(total=1234), created_ms=1000, ended_ms=2600)
    silent = replace(said, custom_id="b-2", run_id="run_1", output_text=None, usage=None)
    refused = Outcome("b", "c", 3, JobState.FAILED, "rejected", error=Why(message="no such model"))
    rows = results([said, silent, refused])
    assert rows == [
        "custom_id  status     tokens  seconds  answer",
        f"a          completed   1,234      1.6  Lisbon ?[31mis{'x' * 43}...",
        "b-2        completed       -      1.6  run_1",
        "c          rejected        -        -  no such model",
    ]


BUSY = replace(
    HALF,
    stopped="the quota is used up",
    first_ms=BEGAN_MS,
    last_ms=BEGAN_MS + 60_000,
    budgets=(
        BudgetUse("creates", 60.0, 60.0, "flag", 57.0),
        BudgetUse("reads", None, None, "", 12.0, 2.5, "Retry-After", searching=True),
    ),
    workers=(WorkerSeen("ab12", "host-1", 4242, "0.1.0", 1.26, 87, BEGAN_MS),),
)


def test_status_tells_counts_budgets_and_the_time_left() -> None:
    times = "first sent 2026-03-01 02:04:00Z, last end 2026-03-01 02:05:00Z"
    assert status_lines(BUSY) == [
        "batch sweep: 1,237/10,000 done (openai, https://a.example/v1)",
        "stopped: the quota is used up",
        "  state      status       jobs",
        "  queued     -           8,676",
        "  running    -              87",
        "  succeeded  completed   1,234",
        "  failed     rejected        2",
        "  failed     exhausted       1",
        "  all                   10,000",
        f"{times}, 20.6/s on average, 7 min 5 s left at that pace",
        "creates: 57 of 60 in 1 min (flag)",
        "reads: 12, no limit known, shut for 2.5 s more: Retry-After, searching for the limit",
    ]


def test_workers_are_told_with_what_they_hold() -> None:
    assert worker_lines(BUSY) == [
        "worker  host     pid  version  holds  silent  since",
        "ab12    host-1  4242  0.1.0       87   1.3 s  2026-03-01 02:04:00Z",
    ]


def test_the_same_as_json_is_one_line_of_the_same_counts() -> None:
    line = as_json(BUSY)
    told = json.loads(line)
    assert "\n" not in line
    assert (told["jobs"], told["at_rest"], told["whole"]) == (10_000, 1237, False)
    assert told["states"]["failed"] == 3
    assert told["counts"][3] == {"state": "failed", "status": "rejected", "jobs": 2}
    assert told["first_at"] == "2026-03-01T02:04:00.000Z"
    assert told["budgets"][0]["limit"] == 60.0
    assert told["workers"][0]["pid"] == 4242
    assert sum(count["jobs"] for count in told["counts"]) == told["jobs"]


@pytest.mark.parametrize("stopped", ["", "interrupted", "--stop-after 5 s have passed"])
def test_the_table_sums_up_to_the_jobs(stopped: str) -> None:
    lines = summary(carried(HALF, stopped), WAYS)
    begin = lines.index(next(line for line in lines if "status" in line)) + 1
    rows = [line.split() for line in lines[begin : begin + 6]]
    counts = [int(row[-1].replace(",", "")) for row in rows]
    assert rows[-1][0] == "all"
    assert sum(counts[:-1]) == counts[-1] == HALF.jobs
