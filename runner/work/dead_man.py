"""A timer in the kernel that ends this process when its lease is over, unless it is wound again.

A stopped process cannot hang up: what its sockets still hold would leave after another has taken
its jobs over. The kernel can (protocol.md 6): killed, the process closes its sockets, and each
close is a reset that drops what was not sent. A parent that never sends starts another.
"""

import ctypes
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Protocol

TIMER_ABSTIME = 1
SIGEV_SIGNAL = 0


class DeadMan(Protocol):
    """Ends the process at a moment of `boottime`, in seconds, unless that is put off."""

    def wind(self, at_s: float) -> None:
        """End the process at `at_s`, and at no earlier moment that was asked for before."""
        ...

    def stop(self) -> None:
        """End it at no moment."""
        ...


class BoottimeTimer:
    """Linux: `timer_create` on the clock that counts suspend; kills a stopped process as well."""

    def __init__(self) -> None:
        self._library = _library()
        # struct sigevent (sigevent(3type)): a value, the signal, the way; 64 bytes in all.
        event = struct.pack("@Pii", 0, signal.SIGKILL, SIGEV_SIGNAL).ljust(64, b"\0")
        self._timer = ctypes.c_void_p()
        self._check(
            self._library.timer_create(time.CLOCK_BOOTTIME, event, ctypes.byref(self._timer))
        )

    def wind(self, at_s: float) -> None:
        """End the process at `at_s`; a moment that is over ends it at once."""
        whole = int(at_s)
        self._set(whole, int((at_s - whole) * 1e9))

    def stop(self) -> None:
        """End it at no moment."""
        self._set(0, 0)

    def _set(self, at_s: int, at_ns: int) -> None:
        # struct itimerspec (timer_settime(2)): no interval, then the moment.
        span = struct.pack("@4l", 0, 0, at_s, at_ns)
        self._check(self._library.timer_settime(self._timer, TIMER_ABSTIME, span, None))

    @staticmethod
    def _check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, "the dead-man timer could not be set")


class AlarmTimer:
    """Other systems: `setitimer`, which a stopped process feels when it goes on, not before."""

    def __init__(self, boottime: Callable[[], float]) -> None:
        self._boottime = boottime
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def wind(self, at_s: float) -> None:
        """End the process at `at_s`; a moment that is over ends it at once."""
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, at_s - self._boottime()))

    def stop(self) -> None:
        """End it at no moment."""
        signal.setitimer(signal.ITIMER_REAL, 0)


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    # Before 2.34 of the GNU C library timers had a library of their own.
    return (
        library if hasattr(library, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)
    )


def is_known() -> bool:
    """Whether this system has such a timer (Windows has none)."""
    return sys.platform == "linux" or hasattr(signal, "setitimer")


def dead_man(boottime: Callable[[], float]) -> DeadMan | None:
    """Return this process's timer, None where the system has none. Call it in the main thread."""
    if not is_known():
        return None
    return BoottimeTimer() if sys.platform == "linux" else AlarmTimer(boottime)
