"""What the progress line shows: counts, pace, what limits, and the time left that follows."""

from collections import deque

from msgspec import Struct, field

from runner.core.progress import Progress


class View(Struct, frozen=True):
    """One moment of the work. Rates are jobs at rest a second; `left_s` None: not known yet.

    `in_flight` is of all batches that are shown. `ceiling` None: several processes, and each knows
    its own.
    """

    progress: Progress
    in_flight: int
    ceiling: int | None
    rate_s: float
    left_s: float | None
    limits: str
    elapsed_s: float


class Pulse(Struct):
    """The pace over the last minute, from (time, jobs at rest) marks. Seconds on a steady clock."""

    span_s: float = 60.0
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def beat(self, now_s: float, at_rest: int) -> float:
        """Note how many jobs are at rest; return the jobs a second of the last minute."""
        self.marks.append((now_s, at_rest))
        while len(self.marks) > 2 and self.marks[1][0] < now_s - self.span_s:
            self.marks.popleft()
        first_s, first = self.marks[0]
        return (at_rest - first) / (now_s - first_s) if now_s > first_s else 0.0


def left_s(progress: Progress, rate_s: float) -> float | None:
    """Return the seconds that the rest will take at this pace, or None where it is not known."""
    rest = progress.jobs - progress.at_rest
    if rest == 0:
        return 0.0
    return rest / rate_s if rate_s > 0 else None
