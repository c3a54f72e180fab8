"""Every job folder, run as its README says, against the simulator."""

import collections
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from shell_blocks import ROOT, blocks, environment, run
from simulator_process import SimulatorProcess

JOBS = ROOT / "jobs"
Rows = list[dict[str, object]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that holds what a person has after cloning: the jobs."""
    shutil.copytree(JOBS, tmp_path / "jobs")
    return tmp_path


def rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def runner(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["runner", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        text=True,
        check=False,
        capture_output=True,
        timeout=120,
    )


def ends(found: Rows) -> dict[str, str]:
    return {str(row["custom_id"]): f"{row['state']} {row['status']}" for row in found}


def test_hello_shows_the_fields_and_all_of_it_ends_well(checkout: Path) -> None:
    done = runner(checkout, "run", "jobs/hello.jsonl", "--simulate", "--out", "results.jsonl")
    assert done.returncode == 0, done.stderr
    found = rows(checkout / "results.jsonl")
    assert len(found) == 12
    assert set(ends(found).values()) == {"succeeded completed"}


def test_hello_names_every_field_of_a_line() -> None:
    told = {name for line in rows(JOBS / "hello.jsonl") for name in line}
    told |= {name for line in rows(JOBS / "hello.jsonl") for name in dict_of(line.get("body"))}
    assert told >= {
        *("custom_id", "thread_id", "thread", "include", "tool_outputs", "method", "url", "body"),
        *("assistant_id", "model", "reasoning_effort", "instructions", "additional_instructions"),
        *("additional_messages", "metadata", "temperature", "top_p", "max_prompt_tokens"),
        *("max_completion_tokens", "truncation_strategy", "response_format", "tools"),
        *("tool_choice", "parallel_tool_calls"),
    }


def dict_of(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def test_troubles_ends_in_every_other_way_and_says_so(checkout: Path) -> None:
    done = runner(checkout, "run", "jobs/troubles.jsonl", "--simulate", "--out", "results.jsonl")
    assert done.returncode == 1
    assert ends(rows(checkout / "results.jsonl")) == {
        "completed": "succeeded completed",
        "failed": "failed failed",
        "rate-limited": "failed failed",
        "invalid-prompt": "failed failed",
        "incomplete": "failed incomplete",
        "filtered": "failed incomplete",
        "expired": "failed expired",
        "cancelled": "cancelled cancelled",
        "unanswered": "failed cancelled",
        "refused": "failed rejected",
    }
    assert "jobs/troubles.jsonl:11: temprature: " in done.stderr
    assert len(rows(checkout / "results.jsonl.rejected.jsonl")) == 1


def test_the_import_is_queued_stopped_resumed_and_exported(checkout: Path) -> None:
    (block,) = blocks(JOBS / "import" / "README.md")
    # Few enough for a test, and too many for the second that work is given before its stop.
    small = block.replace("200000", "200").replace("--stop-after 5", "--stop-after 1")
    assert small != block
    done = run(small, checkout, RUNNER_CONCURRENCY="60", RUNNER_SIMULATOR="--duration=0.5")
    assert done.returncode == 0, done.stderr
    found = rows(checkout / "results-import.jsonl")
    assert [row["custom_id"] for row in found] == [f"doc-{number:08d}" for number in range(200)]
    assert {row["status"] for row in found} == {"completed"}
    assert len(rows(checkout / "results-so-far.jsonl")) < 200
    with SimulatorProcess(state=checkout / "import.db.simulator.jsonl") as server:
        assert len(server.runs()) == 200


def test_the_sweep_is_what_its_script_makes_and_is_summed_up_by_model(checkout: Path) -> None:
    committed = (JOBS / "sweep" / "sweep.jsonl").read_bytes()
    (block,) = blocks(JOBS / "sweep" / "README.md")
    done = run(block, checkout, RUNNER_SIMULATOR="--duration=0.1")
    assert done.returncode == 0, done.stderr
    assert (checkout / "jobs" / "sweep" / "sweep.jsonl").read_bytes() == committed
    found = rows(checkout / "results-sweep.jsonl")
    by_model = collections.Counter(
        (str(dict_of(row["run"])["model"]), str(row["status"])) for row in found
    )
    assert by_model == {
        ("gpt-4o-mini", "completed"): 40,
        ("gpt-4o", "completed"): 40,
        ("o4-mini", "completed"): 40,
    }
    for model, status in by_model:
        assert f"(('{model}', '{status}'), 40)" in done.stdout


def test_a_night_that_was_killed_is_finished_by_the_next_one(checkout: Path) -> None:
    (block,) = blocks(JOBS / "nightly" / "README.md")
    done = run(block, checkout)
    assert done.returncode == 0, done.stderr
    questions = [row["custom_id"] for row in rows(JOBS / "nightly" / "questions.jsonl")]
    for date in ("2026-03-28", "2026-03-29"):
        found = rows(checkout / f"nightly-{date}.results.jsonl")
        assert [row["custom_id"] for row in found] == questions
        assert {row["batch"] for row in found} == {f"nightly-{date}"}
        assert {row["status"] for row in found} == {"completed"}
        assert all(row["doubles"] == [] and row["earlier_runs"] == [] for row in found)
    with SimulatorProcess(state=checkout / "runner-simulated.db.simulator.jsonl") as server:
        assert len(server.runs()) == 2 * len(questions)


def test_a_resume_begins_no_night_of_its_own(checkout: Path) -> None:
    done = run("jobs/nightly/nightly --resume", checkout, NIGHTLY_DATE="2026-03-28")
    assert done.returncode == 0
    assert not list(checkout.glob("nightly-2026*"))


def test_an_edited_manifest_does_not_change_a_night_that_was_begun(checkout: Path) -> None:
    questions = checkout / "jobs" / "nightly" / "questions.jsonl"
    first, *others = questions.read_text("utf-8").splitlines()
    (checkout / "nightly-2026-03-28.jsonl").write_text(first + "\n")
    done = run("jobs/nightly/nightly", checkout, NIGHTLY_DATE="2026-03-28", RUNNER_SIMULATE="1")
    assert done.returncode == 0, done.stderr
    assert others
    assert len(rows(checkout / "nightly-2026-03-28.results.jsonl")) == 1


def test_the_programs_run_twice_and_make_each_run_once(checkout: Path) -> None:
    (block,) = blocks(JOBS / "python" / "README.md")
    done = run(block, checkout)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "failed: sky\n" in done.stdout
    assert "sky completed 2\n" in done.stdout
    found = rows(checkout / "ask-plainly.jsonl")
    assert {name: end for name, end in ends(found).items() if end != "succeeded completed"} == {}
    assert [len(list_of(row["earlier_runs"])) for row in found] == [1, 0, 0, 0]
    with SimulatorProcess(state=checkout / "ask.db.simulator.jsonl") as server:
        assert len(server.runs()) == 4 + 5


def list_of(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
