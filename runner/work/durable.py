"""From the event loop to the store's writer thread and back.

The writer calls back once a committed group; that one wake-up of the loop resolves the futures of
the whole group (performance.md C: 35 times cheaper than one a write). The other way a turn of the
loop hands over all its moves at once: the first of them alone would wake the writer for a group of
its own.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

from runner.core.moves import Move
from runner.store.record import check
from runner.store.store import Store

T = TypeVar("T")
Done = Callable[[bool], None]


class Durable:
    """The store as the event loop sees it. Make it on the loop that will await it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._loop = asyncio.get_running_loop()
        # Called back in the writer thread's own context, anyio would start no task: it knows of no
        # loop there.
        self._context = copy_context()
        self._turn: list[tuple[Move, Done]] = []
        store.on_committed(self._committed)

    def close(self) -> None:
        """Let the store call back in its own thread again: the loop is about to end."""
        self._hand_over()
        self.store.on_committed(_call_each)

    async def write(self, move: Move) -> bool:
        """Record a move and return once it is durable; False: the lease was lost."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self.post(move, future_done(future))
        return await future

    def post(self, move: Move, done: Done) -> None:
        """Record a move and go on; `done` is called on the loop once it is durable or lost.

        `ImpossibleError` for a move that the table of states does not know.
        """
        check(move)
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._turn.append((move, done))

    async def ask(self, verb: Callable[[], T]) -> T:
        """Run a verb in the writer thread and return what it returns, or raise what it raises."""
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T | BaseException) -> None:
            # An ask's answer may come straight from the writer thread.
            self._loop.call_soon_threadsafe(_resolve, future, result, context=self._context)

        # A verb comes after all moves that were recorded before it.
        self._hand_over()
        self.store.ask(verb, done)
        return await future

    def _hand_over(self) -> None:
        if self._turn:
            moves, self._turn = self._turn, []
            self.store.record_all(moves)

    def _committed(self, results: list[tuple[Done, bool]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_call_each, results, context=self._context)
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
    """Call all back: a fault of one, raised in the end, must not leave the others unheard."""
    first: Exception | None = None
    for done, won in results:
        try:
            done(won)
        except Exception as error:  # noqa: BLE001 - raised below
            first = first or error
    if first is not None:
        raise first
