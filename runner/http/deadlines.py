"""The time limits of a sender's exchanges, watched by one timer.

`asyncio.timeout` sets a timer for each exchange and another when the connection stands: a
fifteenth of a request's processor time, for limits that hardly ever pass.
"""

import asyncio
from types import TracebackType
from typing import Self

LOOK_S = 0.02
"""A limit passes at most so late; an exchange is never ended early."""


class Deadline:
    """Ends what its `with` holds, as `asyncio.timeout_at` does: TimeoutError at `ends_at`.

    `ends_at` is a time of the event loop, and may be moved while it runs.
    """

    __slots__ = ("_all", "_cancelling", "_task", "ends_at", "over")

    def __init__(self, every: "Deadlines", ends_at: float) -> None:
        self._all = every
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.ends_at = ends_at
        self.over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline holds for a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._all.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        trouble: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._all.discard(self)
        task, self._task = self._task, None
        if not self.over or task is None:
            return
        # Who else cancels the task has asked for an end, which no time-out may swallow.
        alone = task.uncancel() <= self._cancelling
        if alone and kind is asyncio.CancelledError:
            raise TimeoutError from trouble

    def end(self) -> None:
        """End it now, if it holds anything."""
        if not self.over and self._task is not None:
            self.over = True
            self._task.cancel()


class Deadlines:
    """All deadlines of one sender; used from one event loop."""

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, deadline: Deadline) -> None:
        """Watch a deadline."""
        self._running.add(deadline)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def discard(self, deadline: Deadline) -> None:
        """Watch it no longer."""
        self._running.discard(deadline)

    def _look(self) -> None:
        self._timer = None
        if not self._running:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        for deadline in self._running:
            if deadline.ends_at <= now:
                deadline.end()
        self._timer = loop.call_later(LOOK_S, self._look)
