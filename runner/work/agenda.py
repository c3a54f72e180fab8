"""What is to be done when: one heap and one timer for all jobs, no task or timer each.

20,000 runs in flight cost 20,000 heap entries. Looks after doubt and cancels go before polls.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from itertools import count

from runner.work.carried import Carried


class Step(IntEnum):
    """What a reader does with a job next; smaller goes first."""

    LOOK = 0
    BLOCKED = 1
    CANCEL = 2
    READ = 3


class Agenda:
    """Due steps in order. `next` waits for one; times are on the event loop's clock.

    `on_starved` is called when a step is due and nobody is idle to take it.
    """

    def __init__(self, on_starved: Callable[[], None]) -> None:
        self._on_starved = on_starved
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Step, Carried]] = []
        self._due: tuple[deque[tuple[Step, Carried]], ...] = tuple(deque() for _ in Step)
        self._idle: list[asyncio.Future[tuple[Step, Carried]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap) + self.waiting

    @property
    def waiting(self) -> int:
        """How many steps are due and not taken."""
        return sum(len(due) for due in self._due)

    def add(self, carried: Carried, step: Step, delay_s: float) -> None:
        """Put a job's next step down for `delay_s` from now."""
        if delay_s <= 0:
            self._offer(step, carried)
            return
        at = self._loop.time() + delay_s
        heapq.heappush(self._heap, (at, next(self._order), step, carried))
        self._arm()

    async def next(self) -> tuple[Step, Carried]:
        """Return the most urgent due step, waiting for one."""
        for step in Step:
            if self._due[step]:
                return step, self._due[step].popleft()[1]
        future: asyncio.Future[tuple[Step, Carried]] = self._loop.create_future()
        self._idle.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                step, carried = future.result()
                self._due[step].appendleft((step, carried))
            raise

    def _offer(self, step: Step, carried: Carried) -> None:
        while self._idle:
            future = self._idle.pop()
            if not future.done():
                future.set_result((step, carried))
                return
        self._due[step].append((step, carried))
        self._on_starved()

    def _arm(self) -> None:
        if not self._heap:
            return
        at = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        # A millisecond early costs nothing and saves a timer for what is due together.
        now = self._loop.time() + 0.001
        while self._heap and self._heap[0][0] <= now:
            _, _, step, carried = heapq.heappop(self._heap)
            self._offer(step, carried)
        self._arm()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
