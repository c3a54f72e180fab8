"""Jobs of a program's iterable, taken on the event loop's own thread, a chunk at a time.

On that thread since a generator may hold what belongs to it: a database's cursor, a lock, a task.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import suppress
from itertools import islice

from runner.work.intake import CHUNK

PAUSE_S = 0.2
"""So long at most is waited for the next job before what there is goes into the queue."""

_END = object()


class Handed:
    """Takes an iterable to its end. `over` is true when no more come."""

    def __init__(self, jobs: Iterable[object] | AsyncIterable[object]) -> None:
        self.over = False
        self._plain: Iterator[object] | None = None
        self._next: asyncio.Future[object] | None = None
        if isinstance(jobs, AsyncIterable):
            self._waited = aiter(jobs)
        else:
            self._plain = iter(jobs)

    async def chunk(self) -> list[object]:
        """Return up to `CHUNK` jobs; fewer, or none, where no more come for a moment.

        Raises what the iterable raises.
        """
        if self._plain is not None:
            # Between two chunks the loop's other work goes on.
            await asyncio.sleep(0)
            taken = list(islice(self._plain, CHUNK))
            self.over = len(taken) < CHUNK
            return taken
        return await self._awaited()

    async def _awaited(self) -> list[object]:
        taken: list[object] = []
        while len(taken) < CHUNK:
            if self._next is None:
                self._next = asyncio.ensure_future(self._one())
            done, _ = await asyncio.wait({self._next}, timeout=0 if taken else PAUSE_S)
            if not done:
                break
            job, self._next = self._next.result(), None
            if job is _END:
                self.over = True
                break
            taken.append(job)
        return taken

    async def _one(self) -> object:
        return await anext(self._waited, _END)

    async def close(self) -> None:
        """Wait for no further job."""
        if self._next is not None:
            self._next.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._next
