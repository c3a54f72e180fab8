"""LangGraph's own Agent Server in a process of its own, offline, with a graph that does as told."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

START_LIMIT_S = 90.0
PAGE = 1000
ASSISTANT = "agent"

# What a thread's runs leave in its state lasts, so each input names every field (see `given`).
GRAPH = """
import asyncio
from typing import TypedDict
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

class State(TypedDict, total=False):
    case: str
    sleep: float
    fail: str
    ask: str
    messages: list

async def work(state: State) -> State:
    await asyncio.sleep(state.get("sleep", 0))
    if state.get("fail"):
        raise ValueError(state["fail"])
    if state.get("ask"):
        interrupt({"question": state["ask"]})
    return {"messages": [{"role": "assistant", "content": f"done: {state.get('case', '')}"}]}

graph = StateGraph(State).add_node(work).add_edge(START, "work").add_edge("work", END).compile()
"""
CONFIG = {"dependencies": ["."], "graphs": {ASSISTANT: "./graph.py:graph"}}

# Nothing of it may reach the network, or a disk but its own folder.
OFFLINE = {
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "NO_COLOR": "1",
}
SECRETS = ("LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_")

# The server and its children are a group that ends with whoever holds the other end of stdin.
GUARD = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
ends = lambda wait: (wait(), os.killpg(0, signal.SIGKILL))
threading.Thread(target=ends, args=(server.wait,)).start()
ends(sys.stdin.read)
"""
# Never through a proxy of the machine's: all traffic stays on 127.0.0.1.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Found = dict[str, object]


def program() -> str | None:
    """Return the path of `langgraph`, None where the server is not installed.

    RUNNER_TEST_LANGGRAPH names it where it has an environment of its own; else it must stand
    beside the Python that runs the tests.
    """
    told = os.environ.get("RUNNER_TEST_LANGGRAPH")  # noqa: TID251 - a switch of the tests' own
    if told:
        return told
    beside = Path(sys.executable).with_name("langgraph")
    server = beside.with_name("python3")
    if not beside.exists() or not server.exists():
        return None
    ask = "import importlib.util as u, sys; sys.exit(u.find_spec('langgraph_api') is None)"
    return str(beside) if subprocess.run([server, "-c", ask], check=False).returncode == 0 else None


def given(case: str = "", *, sleep: float = 0.05, fail: str = "", ask: str = "") -> Found:
    """Return a graph's input: seconds to work, then to fail, or to wait for a person, or neither."""
    return {"case": case, "sleep": sleep, "fail": fail, "ask": ask, "messages": []}


class LangGraphServer:
    """`langgraph dev` on a port of its own, answering when the constructor returns.

    `folder`: its graph, its log, and the state that it keeps. Ends with its context, and with the
    test process however that ends.
    """

    def __init__(self, langgraph: str, folder: Path) -> None:
        (folder / "graph.py").write_text(GRAPH)
        (folder / "langgraph.json").write_text(json.dumps(CONFIG))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        mine = os.environ  # noqa: TID251 - the child's environment
        kept = {name: value for name, value in mine.items() if not name.startswith(SECRETS)}
        command = [langgraph, "dev", "--no-browser", "--no-reload", "--n-jobs-per-worker", "20"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        with (folder / "log").open("wb") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-c", GUARD, *command],
                cwd=folder,
                env={**kept, **OFFLINE, "HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.kill()
            raise

    def _wait_until_up(self) -> None:
        last = time.monotonic() + START_LIMIT_S
        while time.monotonic() < last and self._guard.poll() is None:
            with contextlib.suppress(OSError), _DIRECT.open(f"{self.url}/ok", timeout=5):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(0.1)
        raise RuntimeError((self._folder / "log").read_text("utf-8", "replace")[-2000:])

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Return the status and the JSON (None for no body) of one request."""
        text = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(self.url + path, text, headers, method=method)
        try:
            with _DIRECT.open(asked, timeout=30) as answer:
                code, told = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                code, told = refused.code, refused.read()
        return code, json.loads(told) if told else None

    def make_thread(self, thread_id: str) -> None:
        self.ask("POST", "/threads", {"thread_id": thread_id, "if_exists": "do_nothing"})

    def make_run(self, thread_id: str, told: Found, strategy: str = "enqueue") -> str:
        """Make a run that is none of Runner's, and return its id."""
        body = {"assistant_id": ASSISTANT, "input": told, "multitask_strategy": strategy}
        code, made = self.ask("POST", f"/threads/{thread_id}/runs", body)
        if code != 200 or not isinstance(made, dict):
            raise RuntimeError(f"{code}: {made}")
        return str(made["run_id"])

    def cancel(self, thread_id: str, run_id: str) -> None:
        self.ask("POST", f"/threads/{thread_id}/runs/{run_id}/cancel?wait=0&action=interrupt")

    def runs_of(self, thread_id: str) -> list[Found]:
        """Return the server's own list of a thread's runs."""
        code, runs = self.ask("GET", f"/threads/{thread_id}/runs?limit={PAGE}")
        if code != 200 or not isinstance(runs, list) or len(runs) >= PAGE:
            raise RuntimeError(f"{code}: {runs}")
        return runs

    def threads(self) -> list[str]:
        """Return the ids of all threads that the server has."""
        code, found = self.ask("POST", "/threads/search", {"limit": PAGE})
        if code != 200 or not isinstance(found, list) or len(found) >= PAGE:
            raise RuntimeError(f"{code}: {found}")
        return [str(thread["thread_id"]) for thread in found]

    def runs_with(self, name: str, value: object) -> list[Found]:
        """Return the runs of all threads whose metadata have this pair."""
        return [run for run in self._all_runs() if metadata_of(run).get(name) == value]

    def _all_runs(self) -> Iterator[Found]:
        for thread_id in self.threads():
            yield from self.runs_of(thread_id)

    def kill(self) -> None:
        """End it, and all that it started."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait(30)
        shutil.rmtree(self._folder / ".langgraph_api", ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def metadata_of(run: Found) -> Found:
    """Return a run's metadata."""
    metadata = run["metadata"]
    if not isinstance(metadata, dict):
        raise TypeError(metadata)
    return metadata
