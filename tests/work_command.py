"""`runner work` as a host runs it: a process of its own, whose workers can be found and frozen."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.config import Value, as_variables, load


@dataclass
class WorkCommand:
    """One `runner work` under these settings, its output kept. `enter`: how to come to its host."""

    settings: Mapping[str, Value]
    words: tuple[str, ...] = ()
    enter: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        environ = {n: v for n, v in os.environ.items() if not n.startswith("RUNNER_")}  # noqa: TID251
        environ |= as_variables(load(self.settings, environ={}))
        self.process = subprocess.Popen(
            [*self.enter, sys.executable, "-m", "runner", "work", *self.words],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""

    @property
    def workers(self) -> list[int]:
        """Return the ids of the processes that this one has started and that live."""
        return children_of(self.process.pid)

    def end(self, timeout_s: float = 90) -> int:
        """Wait for its end and return its exit code; `said` is what it said."""
        try:
            self.said += self.process.communicate(timeout=timeout_s)[0]
        finally:
            self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """End it and its workers at once."""
        workers = self.workers
        for pid in (self.process.pid, *workers):
            if state_of(pid) not in ("", "Z"):
                os.kill(pid, 9)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that this one has started and that live."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(pid) for pid in children.read_text().split() if state_of(int(pid)) != "Z"]
    except OSError:
        return []


def state_of(pid: int) -> str:
    """Return a process's state as the kernel tells it ("T": stopped, "Z": over); "" for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
