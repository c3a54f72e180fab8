"""How long a database that is locked or away is waited for, and how that is told."""

import time
from collections.abc import Callable
from math import inf
from random import Random
from threading import Lock

from sqlalchemy.exc import DBAPIError

from runner.store.engine import NO_ANSWER, away, is_forbidden, is_locked, is_lost, said
from runner.store.place import Place

WARN_AFTER_S = 2.0
GIVE_UP_AFTER_S = 120.0
APART_S = 60.0
"""Trouble that nobody has met for so long is over: the next is another. Tries are 12 s apart."""
STALLED_S = 3.0
"""A statement that took so long was stopped with the server, or with us: others were too."""


def line_of(place: Place, why: str = NO_ANSWER) -> str:
    """Return the line that tells what is waited for."""
    return f"{place.label} {why}; waiting up to {GIVE_UP_AFTER_S:.0f} s"


class Trouble:
    """A database's trouble as all threads of a process meet it: each kind is told once while it lasts.

    `tell` gets the line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lock = Lock()
        self._met_at: dict[str, float] = {}
        self._told: set[str] = set()
        self.has_written = False
        """Whether anything was written: what the same command goes on with."""

    def meet(self, line: str, *, worth_telling: bool) -> None:
        """Note a try in vain, and tell its line unless it was told of the same trouble."""
        now = time.monotonic()
        with self._lock:
            if now - self._met_at.get(line, -inf) > APART_S:
                self._told.discard(line)
            self._met_at[line] = now
            telling = worth_telling and line not in self._told
            if telling:
                self._told.add(line)
        if telling:
            self._tell(line)

    def note(self) -> None:
        """Note, telling nothing, that the database did not answer for a while."""
        with self._lock:
            self._met_at[""] = time.monotonic()

    def met_s(self) -> float:
        """Return how many seconds ago any trouble was met; infinite for never."""
        with self._lock:
            return time.monotonic() - max(self._met_at.values(), default=-inf)


class Patience:
    """How long to wait for a database that is locked or away: have it told, give up in the end.

    Waits `locked_s` at random, 0.5 to 2 ms (performance.md section D), while it is locked, longer
    while the server is away.
    """

    def __init__(
        self,
        place: Place,
        rng: Random,
        pause: Callable[[float], object],
        trouble: Trouble,
        locked_s: tuple[float, float] = (0.0005, 0.002),
    ) -> None:
        self._place = place
        self._locked_s = locked_s
        self._rng = rng
        self._pause = pause
        self._trouble = trouble
        self._since: float | None = None
        self._away_s = 0.05

    def wait(self, error: DBAPIError) -> None:
        """Wait before the next try; raise where it is no use, or after two minutes."""
        locked, lost = is_locked(error), is_lost(error)
        now = time.monotonic()
        # From the first try in vain: what came before may be a stop of this process.
        self._since = now if self._since is None else self._since
        waited_s = now - self._since
        if not (locked or lost) or waited_s > GIVE_UP_AFTER_S:
            begun = self._trouble.has_written or not is_forbidden(error)
            told = said(error, self._place, while_working=begun)
            if told is None:
                raise error
            raise told from error
        if lost or waited_s > WARN_AFTER_S:
            # A lock is met all the time where others write.
            why = "is locked by another program" if locked else away(error)
            self._trouble.meet(line_of(self._place, why), worth_telling=waited_s > WARN_AFTER_S)
        if locked:
            # Past the first moments the lock is no writer's: do not burn a core on it.
            self._pause(self._rng.uniform(*self._locked_s) if waited_s < 1 else 0.02)
        else:
            self._away_s = min(2.0, self._away_s * self._rng.uniform(1.5, 2.5))
            self._pause(self._away_s)
