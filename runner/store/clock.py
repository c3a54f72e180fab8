"""The clocks that the store reads: one that no person can set, and the wall's for people.

Waits and leases end by a clock that counts sleep and never steps: a wall clock stepped forward by
an hour would end every doubt wait at once (protocol.md section 4, 7).
"""

import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What the store reads time from; a test hands in its own."""

    def boot_ms(self) -> int:
        """Return milliseconds since the machine started, suspend counted."""
        ...

    def wall_ms(self) -> int:
        """Return unix milliseconds, for people."""
        ...


class MachineClock:
    """The clocks of this machine."""

    def boot_ms(self) -> int:
        """Return milliseconds since the machine started; at least 1, since 0 means never."""
        # time.monotonic() stands still in suspend on Linux; elsewhere there is no better one.
        if hasattr(time, "CLOCK_BOOTTIME"):
            return max(1, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)
        return max(1, time.monotonic_ns() // 1_000_000)

    def wall_ms(self) -> int:
        """Return unix milliseconds."""
        return time.time_ns() // 1_000_000


def boot_id() -> str:
    """Return what changes when the machine starts anew.

    Without Linux's boot id the minute of the start by the wall clock stands for it: a stepped
    clock then looks like a restart, which only makes waits longer.
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        started_s = time.time_ns() // 1_000_000_000 - time.monotonic_ns() // 1_000_000_000
        return f"started-{started_s // 60}"
