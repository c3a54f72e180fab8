"""What the README says, held against the code and run as it stands."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer.main
from house.readme_parts import PARTS, README, drawn, parts_in
from shell_blocks import ROOT, blocks, run
from simulator_process import SimulatorProcess

from runner.cli.main import app

TEXT = README.read_text("utf-8")
REAL_URL = "https://agents.example.org/v1"


def commands(line: str) -> list[list[str]]:
    """Return the commands that stand between `&&`."""
    return [shlex.split(part) for part in line.split(" && ")]


def test_the_first_screen_holds_the_two_commands_each_making_what_it_needs() -> None:
    first, second = blocks(README)[0].splitlines()
    assert TEXT[: TEXT.index(first)].count("\n") < 20
    makes, installs, runs = commands(first)
    assert makes == ["python3", "-m", "venv", ".venv"]
    assert installs == [".venv/bin/pip", "install", "-q", "."]
    assert runs == [".venv/bin/runner", "run", "jobs/hello.jsonl", "--simulate"]
    makes, installs, tests = commands(second)
    assert makes == ["python3", "-m", "venv", ".venv"]
    assert installs[:3] == [".venv/bin/pip", "install", "-q"]
    assert tests[0] == ".venv/bin/pytest"
    extra = re.search(r"\[(\w+)\]", installs[-1])
    assert extra
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert extra[1] in project["optional-dependencies"]


def test_ci_runs_these_two_commands_and_no_others() -> None:
    # The way .ci/run itself takes them out.
    code = (ROOT / ".ci" / "run").read_text("utf-8")
    function = re.search(r"^command_of_readme\(\) \{.*?^\}$", code, re.MULTILINE | re.DOTALL)
    assert function
    script = f"root={shlex.quote(str(ROOT))}\n{function[0]}\n"
    script += "command_of_readme 1\ncommand_of_readme 2\n"
    told = subprocess.run(["/bin/bash", "-c", script], text=True, capture_output=True, check=True)
    assert told.stdout.splitlines() == blocks(README)[0].splitlines()


def test_the_shown_output_has_a_line_for_each_job_of_hello() -> None:
    shown = re.search(r"^```\n(custom_id .*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert shown
    names = [line.split()[0] for line in shown[1].splitlines()[1:]]
    lines = (ROOT / "jobs" / "hello.jsonl").read_text("utf-8").splitlines()
    wanted = [json.loads(line).get("custom_id") for line in lines]
    assert [None if name.startswith("auto-") else name for name in names] == wanted


@pytest.mark.parametrize("name", PARTS)
def test_a_part_from_the_code_is_as_the_code_draws_it(name: str) -> None:
    # If not: python tests/house/readme_parts.py
    assert parts_in(TEXT)[name] == PARTS[name]()


def test_drawing_the_parts_changes_nothing_between_them() -> None:
    assert drawn(TEXT) == TEXT
    emptied = TEXT.replace(PARTS["states"](), "")
    assert emptied != TEXT
    assert drawn(emptied) == TEXT


def test_every_command_that_it_names_exists() -> None:
    told = set(re.findall(r"`runner ([a-z]+)", TEXT))
    told |= set(re.findall(r"^runner ([a-z]+)", TEXT, re.MULTILINE))
    group = typer.main.get_command(app)
    known = getattr(group, "commands", {})
    assert told
    assert told <= set(known)


def test_every_link_leads_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert (ROOT / target).exists(), target


def test_the_first_real_use_works_as_told(tmp_path: Path) -> None:
    (manifest,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks(README) if REAL_URL in block]
    (tmp_path / "sweep.jsonl").write_text(manifest)
    with SimulatorProcess("--duration", "0.1", "--key", "replace-me") as server:
        done = run(block.replace(REAL_URL, server.url), tmp_path)
        assert done.returncode == 0, done.stderr
        runs = server.runs()
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == ["q-1", "q-2"]
    assert all(row["run"] == runs[row["run_id"]] for row in rows)
    assert all(row["output_text"] for row in rows)


def test_the_troubles_end_as_told(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    (block,) = [block for block in blocks(README) if "troubles.jsonl" in block]
    done = run(block, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_row_is_told_field_by_field(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    done = run(
        "head -n 1 jobs/hello.jsonl | runner run - --batch one --simulate --with messages --out -",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = re.search(
        r"^A results row, in manifest order:(.*?)\. Also", TEXT, re.MULTILINE | re.DOTALL
    )
    assert told
    named = re.findall(r"`([a-z_]+)`", told[1])
    assert named == sorted(json.loads(done.stdout), key=named.index)
