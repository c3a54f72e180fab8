"""From the event loop to the store's writer thread and back.

The writer calls back once a committed group; that one wake-up of the loop resolves the futures of
the whole group (performance.md C: 35 times cheaper than one a write).
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from runner.core.moves import Move
from runner.store.store import Store

T = TypeVar("T")
Done = Callable[[bool], None]


class Durable:
    """The store as the event loop sees it. Make it on the loop that will await it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._loop = asyncio.get_running_loop()
        store.on_committed(self._committed)

    def close(self) -> None:
        """Let the store call back in its own thread again: the loop is about to end."""
        self.store.on_committed(_call_each)

    async def write(self, move: Move) -> bool:
        """Record a move and return once it is durable; False: the lease was lost."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self.store.record(move, future_done(future))
        return await future

    def post(self, move: Move, done: Done) -> None:
        """Record a move and go on; `done` is called on the loop once it is durable or lost."""
        self.store.record(move, done)

    async def ask(self, verb: Callable[[], T]) -> T:
        """Run a verb in the writer thread and return what it returns, or raise what it raises."""
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T | BaseException) -> None:
            # An ask's answer may come straight from the writer thread.
            self._loop.call_soon_threadsafe(_resolve, future, result)

        self.store.ask(verb, done)
        return await future

    def _committed(self, results: list[tuple[Done, bool]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_call_each, results)
        except RuntimeError:
            # The loop is closed (a second Ctrl-C): nobody waits for these any more.
            return


def future_done(future: "asyncio.Future[bool]") -> Done:
    """Return the callback that resolves a future, unless its waiter has gone."""

    def done(won: bool) -> None:  # noqa: FBT001 - the store's callback has one meaning
        if not future.done():
            future.set_result(won)

    return done


def _resolve(future: "asyncio.Future[T]", result: "T | BaseException") -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _call_each(results: list[tuple[Done, bool]]) -> None:
    for done, won in results:
        done(won)
