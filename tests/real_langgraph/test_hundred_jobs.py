"""A hundred jobs over sixty threads of a real Agent Server: kills, lost packets, busy threads."""

import contextlib
import json
import signal
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
from cli.shell import Shell
from cutting_proxy import CuttingProxy
from forked import Forked
from langgraph_server import ASSISTANT, LangGraphServer, given, metadata_of

MADE_BY_RUNNER = 40
SHARED, JOBS_EACH = 20, 3
COUNT = MADE_BY_RUNNER + SHARED * JOBS_EACH
KILLED_AT = (20, 50)
ANSWER_LOST, REQUEST_LOST = 7, 11
"""Jobs of early numbers, so that their creates are sent before the first kill."""
BUSY = (0, 2)
"""The shared threads on which another's runs stand when the first command begins."""


def failure(number: int) -> str:
    """Return with what words a job's graph fails, "" where it does not: a few do."""
    return f"told to fail: {number}" if number % 25 == 3 else ""


def question(number: int) -> str:
    """Return what a job's graph asks a person, "" where it does not: a few do."""
    return "go on?" if number % 25 == 4 else ""


def lines(threads: list[str]) -> Iterator[dict[str, object]]:
    """Make the jobs, those of the shared threads first; half of these are Runner's to make."""
    for number in range(COUNT):
        line: dict[str, object] = {
            "custom_id": f"job-{number}",
            "assistant_id": ASSISTANT,
            "input": given(f"case-{number}", fail=failure(number), ask=question(number)),
            "metadata": {"story": "hundred", "case": f"case-{number}"},
        }
        if number < SHARED * JOBS_EACH:
            line["thread_id"] = threads[number % SHARED]
            if number % 2:
                line["if_not_exists"] = "create"
        yield line


@pytest.fixture
def threads(server: LangGraphServer) -> list[str]:
    """Name the shared threads, and make each second of them."""
    named = [str(uuid.uuid4()) for _ in range(SHARED)]
    for thread_id in named[::2]:
        server.make_thread(thread_id)
    return named


@pytest.fixture
def theirs(server: LangGraphServer, threads: list[str]) -> dict[str, str]:
    """Have another's run go on upon the busy threads, one more waiting behind it."""
    long = {threads[n]: server.make_run(threads[n], given(sleep=60.0)) for n in BUSY}
    for thread_id in long:
        server.make_run(thread_id, given(sleep=0.2), "enqueue")
    return long


def killed_at(child: Forked, proxy: CuttingProxy, creates: int) -> None:
    """Kill the command once so many creates have gone by."""
    while child.poll() is None and proxy.creates < creates:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.02)
    child.kill()
    said = child.communicate()
    assert child.returncode == -signal.SIGKILL, said


def test_each_job_has_one_run_by_the_servers_own_list(
    server: LangGraphServer, shell: Shell, threads: list[str], theirs: dict[str, str]
) -> None:
    shell.manifest("m.jsonl", lines(threads))
    with CuttingProxy(
        server.port,
        answer_lost=b'"case-%d"' % ANSWER_LOST,
        request_lost=b'"case-%d"' % REQUEST_LOST,
    ) as proxy:
        run = ["run", "m.jsonl", "--out", "o.jsonl", "--dialect", "langgraph"]
        run += ["--base-url", proxy.url, "--doubt-wait", "1"]
        for creates in KILLED_AT:
            killed_at(shell.start(*run), proxy, creates)
        assert proxy.busy
        for thread_id, run_id in theirs.items():
            server.cancel(thread_id, run_id)
        before_the_last = len(server.runs_with("story", "hundred"))
        ended = shell.run(*run)
        audited = shell.run("audit", "m", "--dialect", "langgraph", "--base-url", proxy.url)
        assert sorted(proxy.lost) == ["answer", "request"]
    assert 0 < before_the_last < COUNT
    assert ended.code == 1, ended.err
    assert f"m: {COUNT} jobs done" in ended.err

    made = server.runs_with("story", "hundred")
    assert Counter(metadata_of(run)["case"] for run in made) == {
        f"case-{number}": 1 for number in range(COUNT)
    }
    tags = Counter(metadata_of(run)["runner_key"] for run in made)
    assert len(tags) == COUNT

    rows = [json.loads(line) for line in (shell.folder / "o.jsonl").read_text().splitlines()]
    by_id = {run["run_id"]: run for run in made}
    assert [row["custom_id"] for row in rows] == [f"job-{number}" for number in range(COUNT)]
    for number, row in enumerate(rows):
        there = by_id[row["run_id"]]
        assert metadata_of(there)["case"] == f"case-{number}"
        assert (row["thread_id"], row["status"]) == (there["thread_id"], there["status"])
        assert (row["state"], row["status"]) == (
            ("failed", "error") if failure(number) else ("succeeded", "success")
        )
        assert (row["error"] or {}).get("message", "") == failure(number)
    assert len({row["thread_id"] for row in rows}) == MADE_BY_RUNNER + SHARED

    assert audited.code == 0, audited.out
    assert f"{COUNT} jobs on {MADE_BY_RUNNER + SHARED} threads" in audited.out
