"""What a checker sees of the API: every setting by its name and kind, and a user's program."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_type_hints

import pytest
from shell_blocks import ROOT

import runner
from runner.config import SETTINGS, Setting
from runner.keywords import Keywords

NOT_A_PROGRAMS = {"batch", "strict", "quiet", "log_json", "child", "simulator_url"}
"""A batch is named where jobs are given, bad jobs are told there; the rest is the terminal's."""

MORE: dict[str, object] = {
    "db": str | os.PathLike[str] | None,
    "api_key_file": str | os.PathLike[str] | None,
    "tools": str | Callable[..., object] | None,
    "max_failures": int | str | None,
}
"""Where a program may give more kinds than a command line."""


def kind_of(setting: Setting) -> object:
    if setting.name in MORE:
        return MORE[setting.name]
    kind: object = setting.kind
    if setting.words:
        kind = Literal[setting.words]
    if setting.many:
        kind = Sequence[kind]  # type: ignore[valid-type] # made when it runs
    return kind | None  # type: ignore[operator] # made when it runs


def test_the_keywords_are_the_settings() -> None:
    wanted = {
        "with_" if setting.name == "with" else setting.name: kind_of(setting)
        for setting in SETTINGS
        if setting.name not in NOT_A_PROGRAMS
    }
    assert get_type_hints(Keywords) == wanted


GOOD = """
import asyncio
from collections.abc import AsyncIterator

from runner import BadJobs, Outcome, Runner
from runner.sync import Runner as PlainRunner


async def jobs() -> AsyncIterator[dict[str, object]]:
    yield {"custom_id": "a", "assistant_id": "asst_1"}


async def main() -> int:
    async with Runner(db="runs.db", dialect="azure", rpm=600, with_=["messages"]) as runner:
        queued = await runner.queue([{"assistant_id": "a"}], batch="nightly")
        outcome: Outcome
        async for outcome in runner.run(jobs(), batch="nightly"):
            text: str | None = outcome.output_text
            print(text, outcome.usage.total if outcome.usage else 0)
        runner.stop()
        return queued.new + (await runner.progress()).jobs


def plainly() -> list[str]:
    try:
        with PlainRunner(simulate=True) as runner:
            return [outcome.custom_id for outcome in runner.run("jobs.jsonl")]
    except BadJobs as bad:
        return [one.reason for one in bad.jobs]


asyncio.run(main())
"""
BAD = """
from runner import Runner

Runner(concurency=3)
Runner(on_doubt="wait")
Runner(rpm="600")
Runner().progress().jobs
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of both programs, in one go: it reads all of Runner."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "good.py").write_text(GOOD)
    (folder / "bad.py").write_text(BAD)
    # With the project's own settings and cache: after the type check of the project, which says
    # nothing of these programs, mypy has read all of Runner already.
    settings = ("--config-file", str(ROOT / "pyproject.toml"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, folder / "good.py", folder / "bad.py"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stderr == ""
    # What the cache repeats of the same text names the folder of an earlier run.
    return re.sub(r"^\S*/(?=(?:good|bad)\.py:)", "", done.stdout, flags=re.MULTILINE)


def test_a_program_of_a_user_is_clean_under_strict(checked: str) -> None:
    assert [line for line in checked.splitlines() if line.startswith("good.py")] == []


def test_a_checker_refuses_what_the_runner_would_refuse(checked: str) -> None:
    told = [line for line in checked.splitlines() if line.startswith("bad.py")]
    assert [line.split(":")[1] for line in told if "error" in line] == ["4", "5", "6", "7"]


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(runner.__file__).with_name("py.typed").exists()
