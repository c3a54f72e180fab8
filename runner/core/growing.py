"""When one more process helps: the work is held back by its own processor time, and some is idle.

Pure. What a rate limit, the server or the disk holds back, more processes would not speed up.
"""

from msgspec import Struct

BUSY = 0.85
"""A process that uses so much of a core is held back by nothing else: Python runs on one."""
WRITING = 0.12
"""With a greater part of the time spent on writing to a SQLite file, which one process at a time may
do, a second one mostly waits for the first: measured, two wrote no more jobs than one at a fifth."""
IDLE_CORES = 0.3
"""With less of a core to spare, a further process only takes from the others."""
WORTH_S = 10.0
"""A process needs more than a second of a core to start: with less work left it comes too late."""
LOOKS = 2
"""So many looks in a row must agree: a start, or a checkpoint of the database, is busy too."""


class Look(Struct, frozen=True):
    """What was used since the last look: cores by all our processes, cores idle, seconds left.

    `writing` is the part of this process's time that went into a file which takes one writer, 0
    where there is none. `left_s` is how long the work that is left takes at this pace; None while
    jobs still come.
    """

    processes: int
    busy_cores: float
    idle_cores: float
    left_s: float | None
    writing: float = 0.0

    @property
    def helps(self) -> bool:
        """Whether one more process would have helped."""
        return (
            self.busy_cores >= BUSY * self.processes
            and self.idle_cores >= IDLE_CORES
            and self.writing < WRITING
            and (self.left_s is None or self.left_s >= WORTH_S)
        )


class Growing(Struct):
    """Decides, look by look, when to start one more process; `most` is how many there may be."""

    most: int
    agreed: int = 0

    def after(self, look: Look) -> bool:
        """Return whether to start one more process now."""
        self.agreed = self.agreed + 1 if look.helps and look.processes < self.most else 0
        if self.agreed < LOOKS:
            return False
        self.agreed = 0
        return True


def rest_s(before: int, now: int, took_s: float) -> float:
    """Return how long the jobs left take at the pace since `before`; 0 where none has ended."""
    ended = before - now
    return now * took_s / ended if ended > 0 and took_s > 0 else 0.0
