"""A process that has Runner and its simulator loaded, and forks at each order: see `forked.py`.

Loading them costs a second of CPU. A test of what a command does needs a process of its own, with
its own descriptors, folder, environment and end, but not that second. Of an order it reads one byte
with four descriptors: the new process's three, and a socket by which it is told the rest, and by
which its number and at last its exit code are told.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from typing import TypedDict

import runner

LOADED_LATE = (
    "aiohttp",
    "anyio._backends._asyncio",
    "psycopg",
    "pydantic.fields",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "typer._adapters",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "zoneinfo",
)
"""What others load only when it is first used."""


class Order(TypedDict):
    """What a new process is to be: `module` or, without one, the text `source`, with its words."""

    module: str
    source: str
    words: list[str]
    folder: str
    environ: dict[str, str]
    own_group: bool


def load() -> None:
    """Load all of Runner, and what it loads late."""
    ours = pkgutil.walk_packages(runner.__path__, "runner.")
    for name in (*(one.name for one in ours if "__main__" not in one.name), *LOADED_LATE):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # A child that looks for garbage would else copy every page of this.
    gc.collect()
    gc.freeze()


def serve(orders: socket.socket) -> Order | None:
    """Fork at each order, and tell of each end; return in each child, and None at the end."""
    children: dict[int, socket.socket] = {}
    ours, died = socket.socketpair()
    died.setblocking(False)
    signal.set_wakeup_fd(died.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([orders, ours], [], [])[0]
        if ours in ready:
            ours.recv(4096)
            bury(children)
        if orders not in ready:
            continue
        asked, descriptors, *_ = socket.recv_fds(orders, 1, 4)
        if not asked:
            return None
        told = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for one in (orders, ours, died, *children.values()):
                one.close()
            return born(told, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        told.sendall(b"%d\n" % pid)
        children[pid] = told


def bury(children: dict[int, socket.socket]) -> None:
    """Tell the exit codes of those that have ended."""
    for pid, told in [*children.items()]:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(OSError):  # nobody waits for it any more
                told.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            told.close()
            del children[pid]


def born(told: socket.socket, descriptors: list[int]) -> Order:
    """Take over the descriptors, the folder and the environment of the order."""
    with told, told.makefile("rb") as lines:
        order: Order = json.loads(lines.readline())
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if order["own_group"]:
        os.setsid()
    os.chdir(order["folder"])
    seen = os.environ  # noqa: TID251 - what the command is started with
    seen.clear()
    seen.update(order["environ"])
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    return order


def become(order: Order) -> None:
    """Be what was ordered. The interpreter ends after it as any does."""
    sys.argv = [order["module"] or "-c", *order["words"]]
    if order["module"]:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    else:
        exec(compile(order["source"], "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    load()
    with socket.socket(fileno=int(sys.argv[1])) as orders_of_tests:
        ordered = serve(orders_of_tests)
    if ordered is not None:
        become(ordered)
