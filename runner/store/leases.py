"""Who works: incarnations of workers, their heartbeats, and taking over from the dead.

A lease is a worker's, not a job's, so that keeping it costs the same for ten jobs and for ten
thousand. A lapse is for good: `taken` is set in the transaction that takes the first job, and a
heartbeat that finds it set says so.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection, bindparam, text

from runner.core.model import JobState
from runner.store.columns import STATES
from runner.store.record import Now

CHUNK = 1000
"""Most jobs that one transaction takes from a dead worker: others write in between."""

FORGET_MS = 86_400_000
"""After a day a taken worker's row says nothing more that its absence would not say."""


class Enlisted(Struct, frozen=True):
    """A new incarnation of a worker: its id, and when it was last surely alive (store's clock)."""

    id: str
    beat_ms: int


class StoppedWorker(Struct, frozen=True):
    """A worker that holds its lock and has not beaten for a lease: stopped, not dead.

    `doubts` is how many submitting jobs were taken from it, whose requests it may still send.
    """

    id: str
    host: str
    pid: int
    doubts: int


class TakenOver(Struct, frozen=True):
    """What a look at the other workers came to; all zero when nobody is dead.

    `proven` and `presumed` count workers; the others count their jobs by state.
    """

    proven: int = 0
    presumed: int = 0
    queued: int = 0
    submitting: int = 0
    running: int = 0
    stopped: tuple[StoppedWorker, ...] = ()

    def __add__(self, other: "TakenOver") -> "TakenOver":
        return TakenOver(
            self.proven + other.proven,
            self.presumed + other.presumed,
            self.queued + other.queued,
            self.submitting + other.submitting,
            self.running + other.running,
            self.stopped + other.stopped,
        )


class Myself(Struct, frozen=True):
    """Who asks: the machine's name and its boot, the process, and the release."""

    host: str
    boot: str
    pid: int
    version: str


class Other(Struct, frozen=True):
    """A worker that another looks at; `lease_ms` is its own, whatever the other's is."""

    id: str
    host: str
    boot: str
    pid: int
    lock: str
    beat_ms: int
    lease_ms: int
    taken: bool


_ENLIST = text(
    """
    INSERT INTO worker (id, host, boot, pid, version, lock, started_ms, clock_beat_ms, lease_ms,
        taken, running, wanting, accounts, batches)
    VALUES (:id, :host, :boot, :pid, :version, :lock, :started_ms, :now_ms, :lease_ms,
        0, 0, 0, '', :batches)
    ON CONFLICT (id) DO NOTHING
    """
)
_BEAT = text(
    """
    UPDATE worker SET clock_beat_ms = :now_ms, running = :running WHERE id = :id AND taken = 0
    """
)
_OTHERS = text(
    """
    SELECT id, host, boot, pid, lock, clock_beat_ms, lease_ms, taken FROM worker
    WHERE id <> :me ORDER BY id
    """
)
_TELL = text(
    """
    UPDATE worker SET running = :running, wanting = :wanting, accounts = :accounts
    WHERE id = :id AND (running <> :running OR wanting <> :wanting OR accounts <> :accounts)
    """
)
_FELLOWS = text(
    """
    SELECT running, accounts FROM worker
    WHERE id <> :id AND taken = 0 AND wanting = 1 AND clock_beat_ms > :now_ms - lease_ms
    """
)
_LAPSE = text("UPDATE worker SET taken = 1 WHERE id = :id AND taken = 0 AND clock_beat_ms = :beat")
_LAPSE_DEAD = text("UPDATE worker SET taken = 1 WHERE id = :id")
_LEAVE = text("DELETE FROM worker WHERE id = :id")
OF_WORKER = text("SELECT id, state FROM job WHERE worker = :id LIMIT :most")
_OF_WORKER_LOCKED = text(f"{OF_WORKER.text} FOR UPDATE")
_NOTED = text(
    """
    INSERT INTO attempt (job_id, generation, attempt, sender, intent_ms, closed_ms, why,
        http_status, request_id, run_id, error, detail, lateness_ms)
    SELECT id, generation, attempt, COALESCE(sender, ''), intent_ms, :wall_ms,
        CAST(:why AS VARCHAR), 0, '', '', '', '', 0
    FROM job WHERE id IN :ids AND state = 1 AND clock_closed_ms = 0
    """
).bindparams(bindparam("ids", expanding=True))
_CLOSED = text(
    """
    UPDATE job SET clock_closed_ms = :now_ms, doubted = 1, presumed = :presumed
    WHERE id IN :ids AND state = 1 AND clock_closed_ms = 0
    """
).bindparams(bindparam("ids", expanding=True))
_FREED = text("UPDATE job SET worker = NULL, token = token + 1 WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)


def enlist(
    connection: Connection,
    worker_id: str,
    me: Myself,
    lock: Path,
    *,
    batches: str,
    lease_ms: int,
    now: Now,
) -> None:
    """Write down a new incarnation, whose lock is held already."""
    connection.execute(
        _ENLIST,
        {
            "id": worker_id,
            "host": me.host,
            "boot": me.boot,
            "pid": me.pid,
            "version": me.version,
            "lock": str(lock),
            "started_ms": now.wall_ms,
            "now_ms": now.clock_ms,
            "lease_ms": lease_ms,
            "batches": batches,
        },
    )


def beat(connection: Connection, worker_id: str, running: int, now_ms: int) -> bool:
    """Renew a worker's lease; False where it has lapsed, for good."""
    binds = {"id": worker_id, "running": running, "now_ms": now_ms}
    return connection.execute(_BEAT, binds).rowcount == 1


def fellows(
    connection: Connection,
    me: str,
    running: int,
    accounts: frozenset[str],
    *,
    wanting: bool,
    now_ms: int,
) -> list[int]:
    """Tell the places in flight that this worker takes; return those of each other at its accounts.

    Only those that have work now and whose leases are good. `running` holds the places that may be used
    too: a worker's runs are the jobs that it holds.
    """
    told = "\n".join(sorted(accounts))
    connection.execute(
        _TELL, {"id": me, "running": running, "wanting": int(wanting), "accounts": told}
    )
    return [
        row.running
        for row in connection.execute(_FELLOWS, {"id": me, "now_ms": now_ms})
        if accounts & set(row.accounts.split("\n"))
    ]


def others(connection: Connection, me: str) -> list[Other]:
    """Return all workers but one."""
    return [
        Other(worker_id, host, boot, pid, lock, beat_ms, lease_ms, bool(taken))
        for worker_id, host, boot, pid, lock, beat_ms, lease_ms, taken in connection.execute(
            _OTHERS, {"me": me}
        )
    ]


def lapse(connection: Connection, other: Other, *, proven: bool) -> bool:
    """End a worker's lease for good, unless it has beaten since it was looked at.

    One that is proven dead has beaten its last, whenever that was: comparing the beat there left
    its jobs to a worker that nobody could see.
    """
    if other.taken:
        return True
    if proven:
        connection.execute(_LAPSE_DEAD, {"id": other.id})
        return True
    return connection.execute(_LAPSE, {"id": other.id, "beat": other.beat_ms}).rowcount == 1


def leave(connection: Connection, worker_id: str) -> None:
    """Forget a worker."""
    connection.execute(_LEAVE, {"id": worker_id})


def free(
    connection: Connection, worker_id: str, why: str, *, presumed: bool, now_ms: int, wall_ms: int
) -> dict[JobState, int] | None:
    """Take up to 1,000 jobs from a worker; return how many by state, None where it holds none.

    Open attempts are closed, for the reason `why`; what was closed already keeps its time, or
    kills that come faster than the wait would keep a job in doubt for ever (protocol.md 1).
    """
    look = _OF_WORKER_LOCKED if connection.dialect.name == "postgresql" else OF_WORKER
    rows: Sequence[tuple[int, int]] = [
        (job_id, state)
        for job_id, state in connection.execute(look, {"id": worker_id, "most": CHUNK})
    ]
    if not rows:
        return None
    counts: dict[JobState, int] = {}
    for _, state in rows:
        counts[STATES[state]] = counts.get(STATES[state], 0) + 1
    ids = [job_id for job_id, _ in rows]
    if counts.get(JobState.SUBMITTING):
        connection.execute(_NOTED, {"ids": ids, "why": why, "wall_ms": wall_ms})
        connection.execute(_CLOSED, {"ids": ids, "now_ms": now_ms, "presumed": int(presumed)})
    connection.execute(_FREED, {"ids": ids})
    return counts
