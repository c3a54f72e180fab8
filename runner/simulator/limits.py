"""Rolling-window limits, as a log of what was admitted: exact, whatever the pattern of arrival."""

import math
from collections import deque


class Window:
    """Admits at most `limit` units in any half-open span of `span_s` seconds.

    Times come from a clock that never goes back, in seconds. A refused amount leaves no trace.
    """

    __slots__ = ("_log", "most", "used")

    def __init__(self) -> None:
        self._log: deque[tuple[float, int]] = deque()
        self.used = 0
        self.most = 0  # the greatest use of any span so far

    def forget(self, now: float, span_s: float) -> None:
        """Drop what lies a whole span back."""
        log = self._log
        while log and log[0][0] <= now - span_s:
            self.used -= log.popleft()[1]

    def add(self, now: float, amount: int = 1) -> None:
        """Record `amount` as admitted at `now`."""
        self._log.append((now, amount))
        self.used += amount
        self.most = max(self.most, self.used)

    def wait_s(self, now: float, span_s: float, limit: int, amount: int = 1) -> float:
        """Return the seconds until `amount` would be admitted: 0 now, infinity if it never will."""
        if amount > limit:
            return math.inf
        left = self.used + amount - limit
        if left <= 0:
            return 0.0
        for then, spent in self._log:
            left -= spent
            if left <= 0:
                return max(then + span_s - now, 0.001)
        return math.inf

    def reset_s(self, now: float, span_s: float) -> float:
        """Return the seconds until the window is empty."""
        return max(self._log[-1][0] + span_s - now, 0.0) if self._log else 0.0


def go_duration(seconds: float) -> str:
    """Spell a duration as the rate-limit headers do (Go style): `20ms`, `1.5s`, `6m0s`."""
    # A clock's seconds since 1970 hold no more than a ten-thousandth of a millisecond: what is below
    # that is no time, and would be rounded up to one.
    ms = math.ceil(round(seconds * 1000, 3))
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
