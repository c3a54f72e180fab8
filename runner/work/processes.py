"""Several worker processes under one command: started, replaced when they die, drained together.

The parent never sends: it queues, shows and exports. Children work for ever on the batch and are
told to drain when every job is at rest, or when a person interrupts. A child that ends by itself
has stopped for a reason that holds for all (a breaker, a full disk, wrong settings), which it tells
its parent; unless a signal ended it: then it is started anew, and that is said. On a database that
many hosts share one child has a parent too, since its dead man's timer ends it when it was stopped
past its lease.

A child's standard input is a socket to its parent. That it closes tells the child of the parent's
end, and through it the child tells why it stops: on a full disk neither the database nor a file
would take that.

`grow` adds a process while the others work: one at a time, where processor time is what holds the
work back and the machine has some to spare. Such a parent may work itself.
"""

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from subprocess import PIPE
from threading import Thread

import anyio
from anyio.abc import Process, TaskGroup
from msgspec import Struct, field

from runner.core.breaker import Trip
from runner.work.pool import Ending

RESUME = "run the same command again to resume"
QUICK_DEATHS = 5
QUICK_S = 60.0
"""As many deaths by signal of one place in a minute are no accident."""
LONGEST_DRAIN_S = 30.0
LONGEST_REASON = 4000
"""Bytes of a reason at most: any socket takes so many at once, without a reader."""
KILLED = -9
"""SIGKILL's number, which Windows has no name for."""


class Fleet(Struct):
    """`count` children of one command line. `at_rest` asks the store whether all is done."""

    command: Sequence[str]
    environ: Mapping[str, str]
    count: int
    at_rest: Callable[[], bool]
    stopped_why: Callable[[], str]
    warn: Callable[[str], None]
    grace_s: float = 5.0
    stop_after_s: float | None = None
    """The command's own time (`--stop-after`): the children know of none."""
    helps: bool = False
    """Whether the parent works too, and goes on alone where a child cannot."""
    _children: dict[int, Process] = field(default_factory=dict)
    _ending: Ending = field(default_factory=Ending)
    _over: anyio.Event = field(default_factory=anyio.Event)
    _draining: bool = False
    _group: TaskGroup | None = None
    _places: int = 0
    _starting: int = 0

    def halt(self, _batch_id: int, trip: Trip) -> None:
        """Stop the fleet: no child would hear that one batch of several is over."""
        self.stop(trip.why, trip.remedy)

    def added(self, _jobs: int) -> None:
        """Take note of nothing: the children find new jobs by themselves."""

    def poke(self) -> None:
        """Wake nobody: the children hear of new jobs, or look for them twice a second."""

    @property
    def stopping(self) -> bool:
        """Whether the children have been told to drain."""
        return self._draining

    def stop(self, why: str, remedy: str = RESUME) -> None:
        """Tell every child to drain, and end with this reason."""
        if self._draining:
            return
        self._draining = True
        self._ending = Ending(why, remedy)
        self._signal(signal.SIGTERM)
        self._over.set()

    async def run(self) -> Ending:
        """Keep the children at work until all is at rest or one of them stops for good."""
        async with anyio.create_task_group() as group:
            self._group = group
            for _ in range(self.count):
                self.grow()
            if self.stop_after_s is not None:
                group.start_soon(self._stop_in_time, self.stop_after_s)
            while not self._over.is_set():
                with anyio.move_on_after(0.25):
                    await self._over.wait()
                if not self.stopping and await anyio.to_thread.run_sync(self.at_rest):
                    self._draining = True
                    # All is at rest that is still worked on: a batch that a breaker stopped is not.
                    why = await anyio.to_thread.run_sync(self.stopped_why)
                    if why:
                        trip = Trip.of(why, RESUME)
                        self._ending = Ending(trip.why, trip.remedy)
                    self._over.set()
                    self._signal(signal.SIGTERM)
            with anyio.move_on_after(self.grace_s + LONGEST_DRAIN_S):
                while self._children or self._starting:
                    await anyio.sleep(0.02)
            self._signal(signal.SIGKILL)
            group.cancel_scope.cancel()
        return self._ending

    async def _stop_in_time(self, after_s: float) -> None:
        await anyio.sleep(after_s)
        self.stop(f"--stop-after {after_s:g} s have passed")

    def grow(self) -> None:
        """Start one more process."""
        if self._group is not None and not self.stopping:
            self._group.start_soon(self._keep, self._places)
            self._places += 1

    @property
    def pids(self) -> list[int]:
        """The processes that live."""
        return [child.pid for child in self._children.values()]

    def _signal(self, number: signal.Signals) -> None:
        for child in list(self._children.values()):
            if child.returncode is None:
                child.send_signal(number)

    async def _keep(self, place: int) -> None:
        deaths: deque[float] = deque(maxlen=QUICK_DEATHS)
        while not self._over.is_set():
            ours, theirs = socket.socketpair()
            with ours:
                child = await self._start(place, theirs)
                try:
                    code = await child.wait()
                finally:
                    self._children.pop(place, None)
                if self._over.is_set():
                    return
                if code >= 0:
                    self._ended(code, _last_words(ours))
                    return
            deaths.append(anyio.current_time())
            why = " (killed, or stopped for longer than its lease)" if code == KILLED else ""
            self.warn(
                f"worker process {child.pid} died by signal {-code}{why}; another takes its place"
            )
            if len(deaths) == QUICK_DEATHS and deaths[-1] - deaths[0] < QUICK_S:
                self.stop(f"worker processes keep dying by signal {-code}")
                return

    async def _start(self, place: int, theirs: socket.socket) -> Process:
        self._starting += 1
        try:
            with theirs:
                child = await anyio.open_process(
                    self.command,
                    env=dict(self.environ),
                    # Windows takes no socket for it: a child hears of our end there, and tells none.
                    stdin=PIPE if sys.platform == "win32" else theirs.fileno(),
                    stdout=None,
                    stderr=None,
                    start_new_session=True,
                )
        finally:
            self._starting -= 1
        self._children[place] = child
        if self._over.is_set():
            # All were told to drain while this one was being started: nobody else tells it.
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
        return child

    def _ended(self, code: int, said: str) -> None:
        why = self.stopped_why() or said
        if code == 3 or why:
            trip = Trip.of(why or "a worker process stopped", RESUME)
            self.stop(trip.why, trip.remedy)
        elif code != 0 and self.helps:
            self.warn(f"a further process ended with exit code {code}; going on without it")
        elif code != 0:
            self.stop(f"a worker process ended with exit code {code}; see what it said above")


def tell_parent(why: str) -> None:
    """Tell the parent of this process why it stops before the end."""
    # A pipe that can only be read, where that is all that there is; or the parent is gone.
    with suppress(OSError):
        os.write(0, why.encode(errors="replace")[:LONGEST_REASON])


def _last_words(ours: socket.socket) -> str:
    """Return what a child that has ended said to its parent, "" for nothing."""
    ours.settimeout(0)
    try:
        return ours.recv(LONGEST_REASON).decode(errors="replace")
    except OSError:
        # Nothing was said, and another process has inherited the child's end.
        return ""


async def until_orphaned() -> None:
    """Return when the parent of this process is no more: our end of its socket tells, whenever.

    Read without Python's own buffer, whose lock a thread that waits would keep at our end.
    """
    gone = anyio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # A parent that ends with words of ours unread takes the connection with it.
        with suppress(OSError):
            while os.read(0, 1):
                pass
        # The loop is closed: this process has ended before its parent.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(gone.set)

    Thread(target=wait, name="runner-parent", daemon=True).start()
    await gone.wait()
