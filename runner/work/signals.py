"""Ctrl-C and SIGTERM: the first drains, the second ends at once and still loses nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType


@asynccontextmanager
async def interrupts(first: Callable[[], None], second: Callable[[], None]) -> AsyncIterator[None]:
    """Call `first` on the first SIGINT or SIGTERM, `second` on any further one.

    Event loops without signal handlers (Windows) get the interpreter's own.
    """
    loop = asyncio.get_running_loop()
    count = 0

    def heard() -> None:
        nonlocal count
        count += 1
        (first if count == 1 else second)()

    def heard_plainly(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(heard)

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    for kind in kinds:
        try:
            loop.add_signal_handler(kind, heard)
        except (NotImplementedError, RuntimeError, ValueError):
            try:
                signal.signal(kind, heard_plainly)
            except ValueError:
                # Not the main thread: whoever runs us there hears the signals.
                continue
    try:
        yield
    finally:
        for kind in kinds:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(kind)
            try:
                signal.signal(kind, before[kind])
            except (ValueError, TypeError):
                continue
