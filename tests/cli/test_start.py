"""What can be asked without a database: help, version, completion, and what they cost."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from cli.shell import COMMAND, Shell
from typer.core import TyperCommand, TyperGroup

from runner.cli.main import app
from runner.cli.options import OF_A_PARENT
from runner.config import BY_NAME

HEAVY = (
    "httpx",
    "aiohttp",
    "sqlalchemy",
    "sqlmodel",
    "alembic",
    "pydantic",
    "asyncio",
    "anyio",
    "msgspec",
    "uvicorn",
    "rich",
)
ASK = """
import sys
from runner.cli.main import run
sys.argv = ["runner", *sys.argv[1:]]
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sorted(sys.modules))
"""


def commands() -> dict[str, TyperCommand]:
    """Return every command by its words, such as "db check"."""
    found: dict[str, TyperCommand] = {}
    for name, command in typer.main.get_group(app).commands.items():
        if isinstance(command, TyperGroup):
            parts = command.commands.items()
            found |= {f"{name} {part}": one for part, one in parts if isinstance(one, TyperCommand)}
        elif isinstance(command, TyperCommand):
            found[name] = command
    return found


@pytest.mark.parametrize(
    ("words", "typers_own"),
    # Typer reads every option of a command by pydantic, also of one that is only asked for help.
    [("--help", set()), ("run --help", {"pydantic"}), ("db check --help", {"pydantic"})],
)
def test_help_loads_nothing_heavy(words: str, typers_own: set[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", ASK, *words.split()], capture_output=True, text=True, check=True
    ).stdout
    loaded = said.rpartition("LOADED")[2].split()
    assert "runner.config" in loaded
    assert set(HEAVY).intersection(loaded) <= typers_own


def test_every_command_has_help_with_an_example(capfd: pytest.CaptureFixture[str]) -> None:
    for words in commands():
        with contextlib.suppress(SystemExit):  # the simulator's help is argparse's
            assert app([*words.split(), "--help"], standalone_mode=False, prog_name="runner") == 0
        said, complained = capfd.readouterr()
        assert complained == ""
        _, example = re.split("[Ee]xample:", said)
        assert f"runner {words} " in example, words


def test_every_setting_is_an_option_of_some_command() -> None:
    flags = {flag for one in commands().values() for param in one.params for flag in param.opts}
    people_s = [setting for setting in BY_NAME.values() if setting.name not in OF_A_PARENT]
    assert {setting.flag for setting in people_s} <= flags


def test_an_option_that_was_not_given_leaves_the_setting_to_the_other_layers() -> None:
    given = [
        param
        for command in commands().values()
        for param in command.params
        if (param.name or "").startswith("set_")
    ]
    assert given
    assert {repr(param.default) for param in given} == {"None"}
    assert {repr(param.envvar) for param in given} == {"None"}


def test_help_names_unit_default_and_variable_of_a_setting(shell: Shell) -> None:
    said = " ".join(shell.run("run", "--help").out.split())
    assert "one request's time, in seconds [default 60.0; RUNNER_TIMEOUT]" in said


def test_no_command_at_all_is_wrong_usage_and_shows_the_help(shell: Shell) -> None:
    ended = shell.installed()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: runner")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run", "runner: missing argument 'MANIFEST…'; see `runner run --help`\n"),
        ("run m.jsonl --concurency 3", "runner: no such option: --concurency"),
        ("run m.jsonl --rpm fast", "runner: invalid value for '--rpm'"),
        ("run m.jsonl --rpm 0", "runner: --rpm: 0 is below 0.01; give 0.01 or more"),
        ("run m.jsonl --on-doubt hope", "runner: --on-doubt: 'hope' is not known; use hold"),
        ("show j1 --as crul", "runner: --as: 'crul' is not known; did you mean curl?"),
        ("export --out - --format csvs", "runner: --format: 'csvs' is not known; did you mean csv"),
        ("export --out - --state done", "runner: --state: 'done' is not known; use queued"),
        ("export", "runner: missing option '--out'"),
        ("status --batch a --batch b", "runner: --batch: more than one name; give one\n"),
        ("frobnicate", "runner: no such command 'frobnicate'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(shell: Shell, words: str, said: str) -> None:
    ended = shell.run(*words.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(said)
    assert ended.err.count("\n") == 1


def test_a_flag_goes_before_the_environment_and_that_before_the_file(shell: Shell) -> None:
    (shell.folder / "runner.toml").write_text("rpm = 10\n")
    manifest = shell.jobs(60)
    url = ("--base-url", "http://127.0.0.1:9/v1")
    of_variable = shell.run("check", manifest, *url, env={"RUNNER_RPM": "20"})
    of_flag = shell.run("check", manifest, *url, "--rpm", 30, env={"RUNNER_RPM": "20"})
    assert "at 20 creates a minute: 3 min" in of_variable.out
    assert "at 30 creates a minute: 2 min" in of_flag.out


def test_a_flag_turns_off_what_the_environment_turned_on(shell: Shell) -> None:
    manifest = shell.jobs(1)
    ended = shell.run("check", manifest, "--no-simulate", env={"RUNNER_SIMULATE": "1"})
    assert "no base URL yet" in ended.out


def test_a_wrong_variable_is_told_by_its_name(shell: Shell) -> None:
    ended = shell.run("check", shell.jobs(1), env={"RUNNER_RPM": "many"})
    assert ended.code == 2
    assert ended.err == "runner: RUNNER_RPM: 'many' is no number; give a number\n"


def test_an_error_is_an_object_too_where_objects_were_asked_for(shell: Shell) -> None:
    ended = shell.run("status", "nosuch", "--log-json")
    assert ended.code == 2
    assert '"level": "error"' in ended.err
    assert "no batch is named 'nosuch'" in ended.err


def test_the_module_is_the_same_command_from_anywhere(shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runner", "--version"],
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, shell.installed("--version").out)
    assert done.stdout.startswith("runner ")


@pytest.mark.parametrize("which", ["bash", "zsh", "fish"])
def test_completion_scripts_are_shown_by_name(shell: Shell, which: str) -> None:
    ended = shell.run("--show-completion", which)
    assert ended.code == 0
    assert "_RUNNER_COMPLETE" in ended.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("runner st", {"status"}),
        ("runner run --dialect openai", {"openai", "openai-v1"}),
        ("runner export --format par", {"parquet"}),
    ],
)
def test_bash_completes_commands_and_words(shell: Shell, typed: str, found: set[str]) -> None:
    words = typed.split()
    script = (
        'source <("$0" --show-completion bash); shift_to=$1; shift; COMP_WORDS=("$@"); '
        'COMP_CWORD=$shift_to; _runner_completion "$0"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    said = subprocess.run(
        ["bash", "-c", script, COMMAND[0], str(len(words) - 1), *words],
        capture_output=True,
        text=True,
        check=True,
        env=shell.environ(None),
    ).stdout
    assert set(said.split()) == found


def without(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where a package is not installed."""
    start = f"import sys; sys.modules[{module!r}] = None; from runner.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", start, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_postgresql_without_its_driver_is_told_in_one_line() -> None:
    done = without("psycopg", "status", "--db", "postgresql://someone:secret@127.0.0.1/x")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "install 'runner[postgres]'" in done.stderr
    assert "secret" not in done.stderr


def test_a_client_that_is_not_installed_is_told_before_anything_is_made(tmp_path: Path) -> None:
    manifest, database = tmp_path / "m.jsonl", tmp_path / "r.db"
    manifest.write_text('{"custom_id": "q", "assistant_id": "a"}\n', "utf-8")
    where = ("--db", str(database), "--base-url", "http://127.0.0.1:1/v1")
    done = without("aiohttp", "run", str(manifest), "--http", "aiohttp", *where)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "install 'runner[fast]'" in done.stderr
    assert not database.exists()
