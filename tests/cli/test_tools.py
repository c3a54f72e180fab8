"""`--tools module:function` by the command line: synchronous or not, in time or not, or failing."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import pytest
from cli.shell import Ended, Shell
from simulator_process import SimulatorProcess

Run: TypeAlias = Callable[..., Ended]

MODULE = """
import asyncio, time

def plain(name, arguments):
    return {"name": name, "key": arguments["key"]}

async def waited(name, arguments):
    await asyncio.sleep(0)
    return f"{name} of {arguments['key']}"

def slow(name, arguments):
    time.sleep(5)

async def slow_too(name, arguments):
    await asyncio.sleep(60)

def failing(name, arguments):
    raise LookupError("nothing there")

class Desk:
    @staticmethod
    async def answer(name, arguments):
        return [1, 2.5, None]

answer = Desk.answer
"""


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.05", "--cancel-lag", "0.05") as one:
        yield one


@pytest.fixture
def run(shell: Shell, server: SimulatorProcess) -> Run:
    return partial(run_at, shell, server.url)


def run_at(shell: Shell, url: str, function: str, *flags: str, **line: object) -> Ended:
    (shell.folder / "desk.py").write_text(MODULE)
    one = {"custom_id": "a", "assistant_id": "x", "metadata": {"fate": "requires_action:1"}, **line}
    manifest = shell.manifest("m.jsonl", [one])
    words = ("--base-url", url, "--with", "steps", "--out", "o.jsonl", *flags)
    tools = ("--tools", function) if function else ()
    return shell.run("run", manifest, *tools, *words)


def output(shell: Shell) -> object:
    """The output that the server took for the one call."""
    (row,) = [json.loads(line) for line in (shell.folder / "o.jsonl").read_text().splitlines()]
    (call,) = row["steps"][0]["step_details"]["tool_calls"]
    return call["function"]["output"]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("desk:plain", '{"name":"lookup","key":"a"}'),
        ("desk:waited", "lookup of a"),
        ("desk:Desk.answer", "[1,2.5,null]"),
        ("desk:slow", '{"error":"lookup took longer than 0.2 s"}'),
        ("desk:slow_too", '{"error":"lookup took longer than 0.2 s"}'),
        ("desk:failing", '{"error":"LookupError: nothing there"}'),
    ],
)
def test_what_the_function_says_is_the_output(
    shell: Shell, run: Run, function: str, told: str
) -> None:
    done = run(function, "--tools-timeout", "0.2")
    assert done.code == 0, done.err
    assert output(shell) == told


def test_the_lines_own_output_goes_before_the_function(shell: Shell, run: Run) -> None:
    done = run("desk:failing", tool_outputs={"lookup": "mine"})
    assert done.code == 0, done.err
    assert output(shell) == "mine"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("desk", "--tools: 'desk' is no function; write module:function"),
        ("desk:none", "--tools: 'desk:none' cannot be loaded: AttributeError"),
        ("absent:f", "--tools: 'absent:f' cannot be loaded: ModuleNotFoundError"),
        ("desk:MODULE.x", "cannot be loaded"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(run: Run, function: str, told: str) -> None:
    done = run(function)
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("word", "end"),
    [("fail", "failed cancelled"), ("cancel", "cancelled cancelled")],
)
def test_a_run_that_nobody_answers_ends_as_on_action_says(
    shell: Shell, run: Run, word: str, end: str
) -> None:
    done = run("", "--on-action", word)
    assert done.code == 1, done.err
    (row,) = [json.loads(line) for line in (shell.folder / "o.jsonl").read_text().splitlines()]
    assert f"{row['state']} {row['status']}" == end
    assert (row["error"] or {}).get("code") == ("no_tool_output" if word == "fail" else None)


def test_a_held_run_waits_and_a_later_command_that_can_answer_carries_it_on(
    shell: Shell, run: Run, server: SimulatorProcess
) -> None:
    before = server.runs().keys()
    held = run("", "--on-action", "hold", "--stop-after", "1")
    assert held.code == 3, held.err
    assert not (shell.folder / "o.jsonl").read_text()
    (made,) = server.runs().keys() - before
    assert server.runs()[made]["status"] == "requires_action"
    again = run("desk:plain", "--on-action", "hold")
    assert again.code == 0, again.err
    assert output(shell) == '{"name":"lookup","key":"a"}'
    assert server.runs().keys() - before == {made}
