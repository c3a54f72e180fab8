"""What is asked about a batch or a job: where it stands, and what is known of its runs.

Counts come from kept rows or partial indexes, never from a scan: a `status --watch` on ten million
jobs must cost what it costs on ten.
"""

from collections.abc import Callable

from sqlalchemy import Connection, text

from runner.core.batch import Count
from runner.core.errors import UsageError
from runner.core.progress import Cause, Progress, TurnElsewhere, WorkerSeen
from runner.store.columns import STATES

MOST_CAUSES = 10
MOST_FOREIGN = 5

BATCH = text(
    """
    SELECT name, dialect, base_url, stopped, lateness_ms, queued_whole FROM batch
    WHERE id = :batch_id
    """
)
COUNTS = text(
    """
    SELECT state, status, jobs FROM tally WHERE batch_id = :batch_id AND jobs > 0
    ORDER BY state, status
    """
)
_CAUSES = text(
    """
    SELECT status, code, message, jobs FROM cause WHERE batch_id = :batch_id AND jobs > 0
    ORDER BY jobs DESC, status, code LIMIT :most
    """
)
_SPENT = text(
    """
    SELECT prompt, completion, total, cached, reasoning, earlier, first_ms, last_ms FROM spent
    WHERE batch_id = :batch_id
    """
)
DOUBTS = text(
    """
    SELECT COUNT(*) FROM job
    WHERE batch_id = :batch_id AND idle_state < 3 AND clock_closed_ms > 0 AND state = 1
    """
)
RESENT = text(
    "SELECT COALESCE(SUM(possible_double), 0) FROM job"
    " WHERE batch_id = :batch_id AND possible_double > 0"
)
FOREIGN = text(
    """
    SELECT custom_id, blocked_by FROM job WHERE batch_id = :batch_id AND blocked_by IS NOT NULL
    ORDER BY id LIMIT :most
    """
)
# The plus keeps the batch's own index out of it: doubles are few, a batch's jobs are not.
# A noted answer is a double only where its run is not the generation's own (protocol.md, row 16).
DOUBLES = text(
    """
    SELECT COUNT(*) FROM (
        SELECT DISTINCT a.job_id, a.run_id FROM attempt a
        JOIN job j ON j.id = a.job_id
        WHERE a.why IN ('double', 'noted') AND a.run_id <> '' AND +j.batch_id = :batch_id
        AND a.run_id <> COALESCE(j.run_id, '') AND (a.why = 'double' OR j.run_id IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM outcome o WHERE o.job_id = a.job_id AND o.run_id = a.run_id)
    ) AS seen
    """
)
_WORKERS = text(
    """
    SELECT id, host, pid, version, clock_beat_ms, started_ms, boot,
        (SELECT COUNT(*) FROM job WHERE job.worker = worker.id) AS holds
    FROM worker WHERE taken = 0 ORDER BY started_ms, id
    """
)
_TURN = text(
    """
    SELECT n.custom_id, n.thread_id, o.custom_id AS other, b.name AS batch
    FROM job n
    JOIN job o ON o.origin = n.origin AND o.thread_id = n.thread_id
    JOIN batch b ON b.id = o.batch_id
    WHERE n.batch_id = :batch_id AND n.blocked = 1 AND n.state = 0
    AND o.idle_state < 3 AND o.blocked = 0 AND o.own_thread = 0 AND o.batch_id <> :batch_id
    LIMIT 1
    """
)
_BOOT = text("SELECT value FROM meta WHERE name = 'boot'")
_SOURCES = text("SELECT path FROM source WHERE batch_id = :batch_id ORDER BY id")
_LANES = text("SELECT number FROM lane WHERE batch_id = :batch_id ORDER BY number")
_NOTED = text(
    """
    SELECT a.run_id FROM attempt a JOIN job j ON j.id = a.job_id
    WHERE a.job_id = :job_id AND a.generation = :generation AND a.run_id <> ''
    AND a.why IN ('noted', 'created', 'adopted') AND j.run_id IS NULL
    ORDER BY a.id LIMIT 1
    """
)
_KNOWN_RUNS = text("SELECT run_id FROM outcome WHERE job_id = :job_id AND run_id IS NOT NULL")
_OUTPUTS = text(
    "SELECT call_id, output FROM output WHERE job_id = :job_id AND generation = :generation"
)
ASKED = text("SELECT id FROM job WHERE worker = :worker AND cancel_asked = 1 ORDER BY id")


def progress(
    connection: Connection, batch_id: int, now_ms: Callable[[], int], *, brief: bool
) -> Progress:
    """Return where a batch stands; `brief`: only what its own row and its counts say.

    `now_ms` is the store's clock. `UsageError` where there is no such batch.
    """
    binds = {"batch_id": batch_id}
    row = connection.execute(BATCH, binds).one_or_none()
    if row is None:
        raise UsageError(f"there is no batch number {batch_id}")
    name, dialect, base_url, stopped, lateness_ms, queued_whole = row
    counts = tuple(
        Count(STATES[state], status, jobs)
        for state, status, jobs in connection.execute(COUNTS, binds)
    )
    if brief:
        return Progress(
            name,
            dialect,
            base_url,
            counts,
            stopped=stopped,
            lateness_ms=lateness_ms,
            queued_whole=bool(queued_whole),
        )
    spent = connection.execute(_SPENT, binds).one_or_none() or (0,) * 8
    *tokens, earlier, first_ms, last_ms = spent
    names = ("prompt", "completion", "total", "cached", "reasoning")
    foreign = connection.execute(FOREIGN, binds | {"most": MOST_FOREIGN})
    return Progress(
        name,
        dialect,
        base_url,
        counts,
        causes=_causes(connection, batch_id),
        doubts=int(connection.execute(DOUBTS, binds).scalar_one()),
        blocked_by=tuple((custom_id, run_id) for custom_id, run_id in foreign),
        possible_doubles=int(connection.execute(RESENT, binds).scalar_one()),
        doubles=int(connection.execute(DOUBLES, binds).scalar_one()),
        tokens=dict(zip(names, tokens, strict=True)),
        earlier_tokens=earlier,
        first_ms=first_ms,
        last_ms=last_ms,
        lateness_ms=lateness_ms,
        stopped=stopped,
        queued_whole=bool(queued_whole),
        workers=workers(connection, now_ms()),
    )


def _causes(connection: Connection, batch_id: int) -> tuple[Cause, ...]:
    binds = {"batch_id": batch_id, "most": MOST_CAUSES}
    return tuple(
        Cause(status, code, message, jobs)
        for status, code, message, jobs in connection.execute(_CAUSES, binds)
    )


def workers(connection: Connection, now_ms: int) -> tuple[WorkerSeen, ...]:
    """Return the workers whose leases nobody has ended, the oldest first."""
    # SQLite's clock counts from the machine's start: a beat before it is as old at least.
    boot = connection.scalar(_BOOT) if connection.dialect.name == "sqlite" else None
    return tuple(
        WorkerSeen(
            row.id,
            row.host,
            row.pid,
            row.version,
            (now_ms if boot not in (None, row.boot) else max(0, now_ms - row.clock_beat_ms)) / 1000,
            row.holds,
            row.started_ms,
        )
        for row in connection.execute(_WORKERS)
    )


def turn_elsewhere(connection: Connection, batch_id: int) -> TurnElsewhere | None:
    """Return a job of the batch that waits for a job of another batch on its thread."""
    row = connection.execute(_TURN, {"batch_id": batch_id}).one_or_none()
    if row is None:
        return None
    return TurnElsewhere(row.custom_id, row.thread_id, row.other, row.batch)


def lanes(connection: Connection, batch_id: int) -> list[int]:
    """Return the numbers of a batch's lanes: what shares a speed."""
    return list(connection.scalars(_LANES, {"batch_id": batch_id}))


def sources(connection: Connection, batch_id: int) -> list[str]:
    """Return the manifests that a batch was queued from, in the order of their first queueing."""
    return list(connection.scalars(_SOURCES, {"batch_id": batch_id}))


def noted(connection: Connection, job_id: int, generation: int) -> str:
    """Return the oldest run that evidence of this generation names; "" where the job has one."""
    binds = {"job_id": job_id, "generation": generation}
    return str(connection.execute(_NOTED, binds).scalar() or "")


def known_runs(connection: Connection, job_id: int) -> frozenset[str]:
    """Return the runs that the job's generations ended with."""
    return frozenset(connection.scalars(_KNOWN_RUNS, {"job_id": job_id}))


def outputs(connection: Connection, job_id: int, generation: int) -> dict[str, str]:
    """Return the tool outputs that were recorded for a generation, by call id."""
    binds = {"job_id": job_id, "generation": generation}
    return {row.call_id: row.output for row in connection.execute(_OUTPUTS, binds)}


def asked(connection: Connection, worker: str) -> list[int]:
    """Return the jobs of a worker that a person wants cancelled."""
    return list(connection.scalars(ASKED, {"worker": worker}))
