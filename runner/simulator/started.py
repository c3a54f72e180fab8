"""A simulator in a process of its own, started for one command and ended with it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class StartedSimulator:
    """Start `python -m runner.simulator` and know its URL.

    `state` is the file that keeps its runs, so that a later start finds them. The child ends when
    its standard input closes, so also when this process is killed. Raises `OSError` where the
    child cannot start or says nothing.
    """

    def __init__(self, state: str, arguments: Sequence[str] = ()) -> None:
        command = [sys.executable, "-P", "-m", "runner.simulator", "--port", "0"]
        command += ["--state", state, "--until-stdin-closes", *arguments]
        self._child = subprocess.Popen(  # noqa: S603 - our own module, started as this very Python
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        line = self._child.stdout.readline() if self._child.stdout else b""
        try:
            self.url: str = json.loads(line)["url"]
        except (ValueError, KeyError):
            self.stop()
            raise OSError("the simulator did not start; see what it said above") from None

    def stop(self) -> None:
        """End the child and wait for it."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
