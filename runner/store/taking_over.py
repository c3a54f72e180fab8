"""Taking over from the dead: whose lock is free, or who has been silent for a lease.

A lock that is still held means stopped, not dead, however silent (protocol.md section 6): its jobs
are taken as from a sender presumed dead, and its pid is told.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from runner.core.model import JobState
from runner.core.points import Point
from runner.store import leases, locks
from runner.store.leases import Other, StoppedWorker, TakenOver
from runner.store.record import Now

T = TypeVar("T")


class Writes(Protocol):
    """How a taking-over reaches the writer: a verb as one transaction."""

    def __call__(self, verb: Callable[[Connection], T], *, after: Point | None = None) -> T:
        """Run the verb in the writer's thread."""
        ...


RETURN_S = 3.0
"""A worker whose heartbeat met a database that was away tries again within this time."""


class TakeOver:
    """Looks at all other workers. `one_machine`: the database is a file here.

    Nobody is presumed dead for a silence in which none could speak: after the database was away,
    `met_s` seconds ago, the others get the time of a heartbeat.
    """

    def __init__(
        self,
        write: Writes,
        now: Callable[[], Now],
        met_s: Callable[[], float],
        *,
        boot: str,
        one_machine: bool,
    ) -> None:
        self._write = write
        self._now = now
        self._met_s = met_s
        self._boot = boot
        self._one_machine = one_machine

    def run(self, me: str) -> TakenOver:
        """Take over from whoever is dead, `me` left alone."""
        total = TakenOver()
        for other in self._write(lambda connection: leases.others(connection, me)):
            total += self._look(other)
        return total

    def may_live(self, other: Other) -> bool:
        """Whether a worker may be at work; touches nothing."""
        here = other.boot == self._boot
        if other.taken or (self._one_machine and not here):
            return False
        lock = Path(other.lock)
        if here and lock.exists():
            return locks.is_held(lock)
        return not self._is_silent(other)

    def _is_silent(self, other: Other) -> bool:
        """Whether a worker has said nothing for its lease though it could have."""
        if self._met_s() < other.lease_ms / 3000 + RETURN_S:
            return False
        return self._now().clock_ms - other.beat_ms > other.lease_ms

    def _look(self, other: Other) -> TakenOver:
        here = other.boot == self._boot
        # A path says something only where it was written: on this boot, or beside the database.
        lock = locks.try_hold(Path(other.lock)) if here or self._one_machine else None
        proven = lock is not None or (self._one_machine and not here)
        try:
            if not (proven or other.taken or self._is_silent(other)):
                return TakenOver()
            silent_ms = self._now().clock_ms - other.beat_ms
            taken = self._take(other, proven=proven)
            # Forgotten only where its lease is over for good: else its jobs would be nobody's.
            over = proven or other.taken or bool(taken.presumed)
            forgotten = over and (proven or silent_ms > leases.FORGET_MS)
            if forgotten:
                self._write(lambda connection: leases.leave(connection, other.id))
        except BaseException:
            if lock is not None:
                lock.drop()
            raise
        if lock is not None:
            lock.free()
        if other.taken or proven or not (here or self._one_machine):
            return taken
        return _stopped(other, taken)

    def _take(self, other: Other, *, proven: bool) -> TakenOver:
        total = TakenOver()
        first = True
        while True:
            freed = self._write(
                partial(self._free, other, proven=proven, first=first),
                after=Point.TAKE_OVER_AFTER_COMMIT,
            )
            if freed is None:
                return total
            if first and not other.taken:
                total += TakenOver(proven=int(proven), presumed=int(not proven))
            first = False
            total += freed
            if freed == TakenOver():
                return total

    def _free(
        self, other: Other, connection: Connection, *, proven: bool, first: bool
    ) -> TakenOver | None:
        """Take up to 1,000 jobs; None where the worker has beaten since, or left."""
        if first and not leases.lapse(connection, other, proven=proven):
            return None
        now = self._now()
        counts = leases.free(
            connection,
            other.id,
            "sender_dead" if proven else "lease_over",
            presumed=not proven,
            now_ms=now.clock_ms,
            wall_ms=now.wall_ms,
        )
        counts = counts or {}
        return TakenOver(
            queued=counts.get(JobState.QUEUED, 0),
            submitting=counts.get(JobState.SUBMITTING, 0),
            running=counts.get(JobState.RUNNING, 0),
        )


def _stopped(other: Other, taken: TakenOver) -> TakenOver:
    if not taken.presumed or not locks.is_held(Path(other.lock)):
        return taken
    told = StoppedWorker(other.id, other.host, other.pid, taken.submitting)
    return taken + TakenOver(stopped=(told,))
