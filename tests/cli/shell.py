"""Commands in processes of their own, with or without a terminal."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forked import DEVNULL, PIPE, Forked

LIMIT_S = 60.0
SIMULATED = ("--simulate", "--simulator=--duration=0.05")
"""A rehearsal whose runs take a twentieth of a second."""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """A folder to work in, and an environment that nothing of the machine's reaches."""

    folder: Path

    def run(self, *words: object, env: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
        """Give a command to a process that is loaded already, and wait for its end."""
        process = self._forked(words, env, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        try:
            out, err = process.communicate(stdin, LIMIT_S)
        finally:
            process.kill()
        return Ended(process.wait(), out, err)

    def installed(self, *words: object, env: Mapping[str, str] | None = None) -> Ended:
        """Give the command as it is installed, and wait for its end."""
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=self.folder,
            env=self.environ(env),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def in_sh(self, line: str) -> Ended:
        """Have a shell run a line in which $RUNNER is the installed command."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env={**self.environ(None), "RUNNER": COMMAND[0]},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *words: object) -> Forked:
        """Give a command and do not wait."""
        return self._forked(words, None, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)

    def on_terminal(self, *words: object, env: Mapping[str, str] | None = None) -> Ended:
        """Give a command on a terminal of 100 columns; `out` holds all that it drew."""
        ours, theirs = pty.openpty()
        size = {"COLUMNS": "100", "LINES": "30", "TERM": "xterm"}
        seen = {**size, **(env or {})}
        process = self._forked(words, seen, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        drawn = _all_of(ours)
        os.close(ours)
        return Ended(process.wait(LIMIT_S), drawn, "")

    def _forked(
        self,
        words: Iterable[object],
        env: Mapping[str, str] | None,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> Forked:
        return Forked(
            "runner",
            *words,
            folder=self.folder,
            environ=self.environ(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def manifest(self, name: str, lines: Iterable[Mapping[str, object]]) -> str:
        """Write a manifest and return its name."""
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (self.folder / name).write_text(text, "utf-8")
        return name

    def jobs(self, count: int, name: str = "m.jsonl") -> str:
        """Write a manifest of so many jobs, j1 and on."""
        return self.manifest(
            name,
            ({"custom_id": f"j{i}", "assistant_id": "asst_1"} for i in range(1, count + 1)),
        )

    def environ(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """Return what the command sees."""
        return {**_KEPT, "LANG": "C.UTF-8", **(more or {})}


def interrupt(process: Forked) -> Ended:
    """Press Ctrl-C and wait for the end."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    return Ended(process.wait(), out, err)


def _all_of(descriptor: int) -> str:
    read = bytearray()
    with contextlib.suppress(OSError):  # EIO: the other end of a terminal is closed
        while chunk := os.read(descriptor, 65536):
            read += chunk
    return read.decode()


_SEEN = os.environ  # noqa: TID251 - what the command is started with
_KEPT = {name: _SEEN[name] for name in ("PATH", "HOME", "TMPDIR") if name in _SEEN}


COMMAND = (str(Path(sys.executable).with_name("runner")),)
