"""A process that has the app loaded and forks a command for each line that it reads.

Loading the app costs a second of CPU. A test of what a command says needs a process of its own,
with its own descriptors, folder and environment, but not that second.
"""

import json
import os
import signal
import sys
import traceback
from typing import TypedDict

import runner.app  # loaded here, once
from runner.cli import forecast, job_lines, opened, screen, talk
from runner.cli.main import run

LOADED = (runner.app, forecast, job_lines, opened, screen, talk)
LIMIT_S = 60


class Asked(TypedDict):
    """One command: its words, where it runs, what it sees, and the files of its descriptors."""

    words: list[str]
    folder: str
    environ: dict[str, str]
    streams: list[str]


def serve() -> None:
    """Answer each line with the exit code of the command that it asks for."""
    for line in sys.stdin:
        asked: Asked = json.loads(line)
        child = os.fork()
        if child == 0:
            become(asked)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(asked: Asked) -> None:
    """Be the command, and end as it ends."""
    signal.alarm(LIMIT_S)
    os.chdir(asked["folder"])
    seen = os.environ  # noqa: TID251 - what the command is started with
    seen.clear()
    seen.update(asked["environ"])
    for number, path in enumerate(asked["streams"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    sys.argv = ["runner", *asked["words"]]
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - a bug, shown as the interpreter would show it
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
