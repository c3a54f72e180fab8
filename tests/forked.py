"""Processes without the cost of a start: forked from one that has all of Runner loaded.

Each is a process of its own in all but that: it can be killed, stopped and interrupted, and it ends
as any. What a start itself does is tested with `subprocess`.
"""

import atexit
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self, TextIO

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT


@functools.cache
def _nursery() -> socket.socket:
    """Start `nursery.py`, once; it ends with this process, since its socket closes."""
    ours, its = socket.socketpair()
    with its:
        nursery = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py")), str(its.fileno())],
            pass_fds=[its.fileno()],
            stdin=DEVNULL,
        )
    atexit.register(nursery.wait)
    atexit.register(ours.close)
    return ours


class Forked:
    """Like `subprocess.Popen`, for `python -m module words…` or `python -c source words…`.

    `stdin`, `stdout` and `stderr` are as there, in text: a constant, a descriptor, or None for this
    process's own. `environ` and `folder`: None for this process's own.
    """

    def __init__(
        self,
        module: str,
        *words: object,
        source: str = "",
        folder: Path | None = None,
        environ: Mapping[str, str] | None = None,
        own_group: bool = False,
        stdin: int | None = DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self.args = [module or source, *map(str, words)]
        self.returncode: int | None = None
        self.stdin: TextIO | None = None
        self.stdout: TextIO | None = None
        self.stderr: TextIO | None = None
        theirs: list[int] = []
        own: list[int] = []
        for number, what in enumerate((stdin, stdout, stderr)):
            theirs.append(self._end(number, what, theirs, own))
        self._line, told = socket.socketpair()
        with told:
            socket.send_fds(_nursery(), [b"x"], [*theirs, told.fileno()])
        for descriptor in own:
            os.close(descriptor)
        seen = os.environ if environ is None else environ  # noqa: TID251 - as Popen does
        order = {
            "module": module,
            "source": source,
            "words": [*map(str, words)],
            "folder": str(folder or Path.cwd()),
            "environ": dict(seen),
            "own_group": own_group,
        }
        self._line.sendall(f"{json.dumps(order)}\n".encode())
        self._lines = self._line.makefile("r")
        self.pid = self._number()

    def _end(self, number: int, what: int | None, theirs: list[int], own: list[int]) -> int:
        """Return the descriptor that the new process gets; `own` are those to be closed here."""
        if what is None:
            return number
        if what >= 0:
            return what
        if what == STDOUT:
            return theirs[1]
        if what == DEVNULL:
            own.append(os.open(os.devnull, os.O_RDWR))
            return own[-1]
        reading, writing = os.pipe()
        own.append(writing if number else reading)
        if number == 0:
            self.stdin = os.fdopen(writing, "w")
        elif number == 1:
            self.stdout = os.fdopen(reading, "r")
        else:
            self.stderr = os.fdopen(reading, "r")
        return own[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, None for not yet."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _ended(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._line, selectors.EVENT_READ)
                if selector.select(timeout_s):
                    self.returncode = self._number()
                    self._lines.close()
                    self._line.close()
        return self.returncode

    def _number(self) -> int:
        told = self._lines.readline()
        if not told:
            raise RuntimeError("nursery.py has ended; its words are above")
        return int(told)

    def communicate(self, told: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Say a little, read both outputs to their end, and wait for the end."""
        last = None if timeout is None else time.monotonic() + timeout
        if self.stdin is not None and not self.stdin.closed:
            self.stdin.write(told)
            self.stdin.close()
        read = {pipe: bytearray() for pipe in (self.stdout, self.stderr) if pipe is not None}
        with selectors.DefaultSelector() as selector:
            for pipe in read:
                if not pipe.closed:
                    selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                left_s = None if last is None else last - time.monotonic()
                if left_s is not None and left_s <= 0:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                for key, _ in selector.select(left_s):
                    part = os.read(key.fd, 65536)
                    read[key.fileobj] += part  # type: ignore[index] # it is one of the two
                    if not part:
                        selector.unregister(key.fileobj)
        out, err = (
            "" if pipe is None else read[pipe].decode(errors="replace")
            for pipe in (self.stdout, self.stderr)
        )
        for pipe in read:
            pipe.close()
        self.wait(None if last is None else max(0.0, last - time.monotonic()))
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
