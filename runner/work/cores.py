"""How much processor time this machine has to spare, and what some processes have used of it."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, field

STAT = Path("/proc/stat")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return how many cores this process may use: of the machine, its affinity and its quota."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = min(count, len(os.sched_getaffinity(0)))
    with suppress(OSError, ValueError):
        quota, period = QUOTA.read_text(encoding="ascii").split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


class Used(Struct, frozen=True):
    """Of some seconds: what this process used, and cores busy (with its children) and idle."""

    took_s: float
    own_s: float
    busy_cores: float
    idle_cores: float


class Spent(Struct):
    """Seconds of a core since the last look: by this process and its children, and by nobody."""

    _at: float = field(default_factory=time.monotonic)
    _own: float = 0.0
    _busy: float = 0.0
    _idle: float = 0.0

    def age_s(self) -> float:
        """Return how long ago the last look was."""
        return time.monotonic() - self._at

    def look(self, children: Iterable[int]) -> Used:
        """Return what was used since the look before; the first tells nothing."""
        now, own, idle = time.monotonic(), time.process_time(), idle_s()
        busy = own + sum(_used_s(pid) for pid in children)
        took = max(now - self._at, 1e-9)
        # A child that ended takes its time with it.
        used = Used(
            took,
            max(0.0, own - self._own),
            max(0.0, busy - self._busy) / took,
            max(0.0, idle - self._idle) / took,
        )
        self._at, self._own, self._busy, self._idle = now, own, busy, idle
        return used


def idle_s() -> float:
    """Return seconds of a core that nobody used since the machine's start; 0 where none tells.

    So where there is no such file nothing ever looks idle, and no process is started.
    """
    with suppress(OSError, ValueError, IndexError):
        _cpu, _user, _nice, _system, idle, waiting, *_ = (
            STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
        )
        return (int(idle) + int(waiting)) / _ticks()
    return 0.0


def _used_s(pid: int) -> float:
    with suppress(OSError, ValueError, IndexError):
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The name in brackets may hold anything; fields 14 and 15 are user and system time.
        fields = told.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _ticks()
    return 0.0


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")
