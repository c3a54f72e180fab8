"""Imported by Python itself in a worker process that crash tests start: kills it at a point, once.

TEST_KILL_AT is `POINT NTH FILE`; the worker that makes FILE is the one that dies.
"""

import os
import signal

from runner.app import Commands
from runner.core.points import Point


def reach(point: Point) -> None:
    global seen  # noqa: PLW0603 - one count a process
    if point.value != wanted:
        return
    seen += 1
    if seen < int(nth):
        return
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


wanted, nth, file = os.environ.get("TEST_KILL_AT", "- 1 -").split(" ", 2)  # noqa: TID251 - told by the test
seen = 0
if wanted != "-":
    defaults = Commands.__init__.__kwdefaults__ or {}
    defaults["reach"] = reach
