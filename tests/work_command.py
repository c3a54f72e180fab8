"""`runner work` as a host runs it: a process of its own, whose workers can be found and frozen."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forked import PIPE, STDOUT, Forked

from runner.config import Value, as_variables, load

# What `ip netns exec` does, without a start.
ON_A_HOST = """
import ctypes, os, sys
from runner.__main__ import main
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open(f"/run/netns/{sys.argv.pop(1)}", os.O_RDONLY), 0):
    raise OSError(ctypes.get_errno(), "setns")
main()
"""


@dataclass
class WorkCommand:
    """One `runner work` under these settings, its output kept. `host`: a namespace of networks."""

    settings: Mapping[str, Value]
    words: tuple[str, ...] = ()
    host: str = ""

    def __post_init__(self) -> None:
        environ = {n: v for n, v in os.environ.items() if not n.startswith("RUNNER_")}  # noqa: TID251
        environ |= as_variables(load(self.settings, environ={}))
        words = ("work", *self.words)
        if self.host:
            self.process = Forked(
                "", self.host, *words, source=ON_A_HOST, environ=environ, stdout=PIPE, stderr=STDOUT
            )
        else:
            self.process = Forked("runner", *words, environ=environ, stdout=PIPE, stderr=STDOUT)
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
        return self.process.wait()

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
