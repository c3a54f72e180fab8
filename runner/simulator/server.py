"""The process: the socket, uvicorn, the line that tells the port, and what ends it."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from runner.simulator.app import App
from runner.simulator.arguments import Listening, parse
from runner.simulator.audit import Audit
from runner.simulator.journal import Journal
from runner.simulator.settings import Settings
from runner.simulator.world import World

PARENT_LOOKED_FOR_S = 0.3
KEEP_ALIVE_S = 75  # the usual of proxies; `--close-idle` is for less


class _Watched(asyncio.Protocol):
    """Puts every connection of one of uvicorn's protocols within the application's reach."""

    config: uvicorn.Config
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn narrows the argument so
        """Note the connection."""
        super().connection_made(transport)
        if isinstance(self.config.app, App):
            self.config.app.connections.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if isinstance(self.config.app, App):
            self.config.app.connections.closed(self.transport)
        super().connection_lost(exc)


class _Portable(_Watched, H11Protocol):
    """HTTP/1.1 in pure Python."""


class Server(uvicorn.Server):
    """The server of uvicorn, which tells its port once it listens and ends with exit code 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so on stdout."""
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            told = {"port": port, "url": f"http://{host}:{port}/v1"}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's own signature
        """Stop; uvicorn would raise the signal again after the end, and so end by it."""
        self.should_exit = True


def main(arguments: Sequence[str]) -> int:
    """Serve by command-line arguments until told to stop; returns the exit code."""
    listening, settings = parse(arguments)
    try:
        serve(listening, settings)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    return 0


def serve(listening: Listening, settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT, `POST /_stop` or the end of whoever started it.

    Raises OSError where the port or the state file cannot be had, ValueError for a damaged one.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.closing(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listening.host, listening.port))
        app = build(listening.state, settings)
        config = uvicorn.Config(
            app,
            http=_protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            backlog=4096,
        )
        server = Server(config)
        app.inspection.stop = lambda: setattr(server, "should_exit", True)
        _watch(listening, server)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))


def build(state: Path | None, settings: Settings) -> App:
    """Make the application with its clocks and dice, and with the runs that `state` remembers."""
    audit = Audit()
    journal = Journal(state) if state is not None else None
    world = World(settings, Random(settings.seed), journal)
    clock = time.time  # noqa: TID251 - the simulator's own root: it may not use Runner's
    runs = world.restore(clock())
    for run in runs:
        audit.note(run)
    audit.counts["creates"] = len(runs)
    # A server that comes back must not go through the same dice again.
    world.rng.seed(f"{settings.seed} {len(runs)}")
    dice = Random(f"faults {settings.seed} {len(runs)}")
    return App(world, audit, dice, clock=clock, steady=time.monotonic)


def _protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's protocol on httptools where that is installed: a third of the CPU."""
    try:
        from uvicorn.protocols.http.httptools_impl import (  # noqa: PLC0415 - not of our dependencies
            HttpToolsProtocol,
        )
    except ImportError:
        return _Portable

    class Fast(_Watched, HttpToolsProtocol):
        """HTTP/1.1 by httptools."""

    return Fast


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra, taken where it is installed
    except ImportError:
        return None
    return uvloop.new_event_loop


def _watch(listening: Listening, server: Server) -> None:
    """End the server when standard input closes or the parent is gone, even by SIGKILL."""

    def until_stdin_closes() -> None:
        while os.read(0, 4096):
            pass
        server.should_exit = True

    def until_orphaned() -> None:
        # A dead parent stays in the table as a zombie until somebody reaps it, but its children
        # get another parent at once.
        child = os.getppid() == listening.parent_pid
        pause = threading.Event()
        while os.getppid() == listening.parent_pid if child else _alive(listening.parent_pid):
            pause.wait(PARENT_LOOKED_FOR_S)
        server.should_exit = True

    if listening.until_stdin_closes:
        threading.Thread(target=until_stdin_closes, daemon=True).start()
    if listening.parent_pid:
        threading.Thread(target=until_orphaned, daemon=True).start()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
