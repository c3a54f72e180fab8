"""Thread turns: of the jobs that share a thread, one at a time may be claimed.

`blocked` = 1 on a queued job that waits for another; at most one open job of a thread is not
blocked. A job at rest has `blocked` = 0. Jobs with a thread of their own take no turns.
"""

import json
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, text

from runner.store.pipeline import send
from runner.store.prepared import Prepared, array

# Sub-selects of one value, not joins: so both planners read the waiting jobs in the index's own
# order, and stop at the first; and whether somebody has the turn is looked up once.
GRANT = text(
    """
    UPDATE job SET blocked = 0 WHERE id = (
        SELECT n.id FROM job n
        WHERE n.origin = (SELECT origin FROM job WHERE id = :id)
        AND n.thread_id = (SELECT thread_id FROM job WHERE id = :id AND own_thread = 0)
        AND n.blocked = 1 AND n.state = 0
        AND NOT EXISTS (
            SELECT 1 FROM job o
            WHERE o.origin = (SELECT origin FROM job WHERE id = :id)
            AND o.thread_id = (SELECT thread_id FROM job WHERE id = :id)
            AND o.idle_state < 3 AND o.blocked = 0 AND o.own_thread = 0
        )
        ORDER BY n.id LIMIT 1
    )
    """
)
"""Give the turn to the first waiting job of the thread that job `id` names, if nobody has it.

Run it for each job that came to rest (whatever the end), and after jobs were put back to queued
with `blocked` = 1 (retry, replace), in the same transaction.
"""

_GRANTS = Prepared(GRANT)
_WAITING = Prepared(
    text("SELECT id FROM job WHERE blocked = 1 ORDER BY origin, thread_id, id LIMIT 1")
)
"""Whether any job waits for a turn at all."""

_GRANT_ALL = """
    UPDATE job SET blocked = 0 WHERE id IN (
        SELECT (
            SELECT n.id FROM job n
            WHERE n.origin = j.origin AND n.thread_id = j.thread_id
            AND n.blocked = 1 AND n.state = 0
            AND NOT EXISTS (
                SELECT 1 FROM job o
                WHERE o.origin = j.origin AND o.thread_id = j.thread_id
                AND o.idle_state < 3 AND o.blocked = 0 AND o.own_thread = 0
            )
            ORDER BY n.id LIMIT 1
        )
        FROM job j WHERE j.id = ANY(%s::bigint[]) AND j.own_thread = 0
        AND (
            SELECT id FROM job WHERE blocked = 1 ORDER BY origin, thread_id, id LIMIT 1
        ) IS NOT NULL
    )
    """
"""`GRANT` for many jobs in one statement of PostgreSQL's; one look where no job waits at all."""

_GRANT_THREAD = text(
    """
    UPDATE job SET blocked = 0 WHERE id = (
        SELECT n.id FROM job n
        WHERE n.origin = :origin AND n.thread_id = :thread_id AND n.blocked = 1 AND n.state = 0
        AND NOT EXISTS (
            SELECT 1 FROM job o
            WHERE o.origin = :origin AND o.thread_id = :thread_id
            AND o.idle_state < 3 AND o.blocked = 0 AND o.own_thread = 0
        )
        ORDER BY n.id LIMIT 1
    )
    """
)

# A list as one value, not a parameter a name: the text stays the same for any number of threads.
BUSY = text(
    """
    SELECT thread_id FROM job
    WHERE origin = :origin AND thread_id IN (SELECT value FROM json_each(:threads))
    AND idle_state < 3 AND blocked = 0 AND own_thread = 0
    """
)
_BUSY_SHARED = text(
    """
    SELECT thread_id FROM job
    WHERE origin = :origin AND thread_id = ANY(:threads)
    AND idle_state < 3 AND blocked = 0 AND own_thread = 0
    FOR SHARE
    """
)

_ALONE = text("SELECT pg_advisory_xact_lock(7235, :origin)")


def enter(connection: Connection, origin: int) -> None:
    """Let one transaction at a time give turns under an origin; call it before `busy`.

    SQLite has one writer anyway. On PostgreSQL two that queue into one thread would each find it
    free. 7235 is a number of ours among the server's advisory locks.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_ALONE, {"origin": origin})


def busy(connection: Connection, origin: int, threads: Collection[str]) -> set[str]:
    """Return which of these threads have an open job that is not blocked."""
    if not threads:
        return set()
    if connection.dialect.name != "postgresql":
        names = json.dumps(list(threads))
        return set(connection.scalars(BUSY, {"origin": origin, "threads": names}))
    # FOR SHARE: a settle of the job that has the turn must come before this look or after our
    # commit, else it would find nobody waiting and our job would wait for ever.
    binds = {"origin": origin, "threads": sorted(threads)}
    return set(connection.scalars(_BUSY_SHARED, binds))


def grant(connection: Connection, origin: int, threads: Iterable[str]) -> None:
    """Give the turn of each of these threads to its first waiting job, where nobody has it."""
    rows = [{"origin": origin, "thread_id": thread} for thread in sorted(threads)]
    if rows:
        connection.execute(_GRANT_THREAD, rows)


def pass_on(connection: Connection, job_ids: Sequence[int]) -> None:
    """Give the turns of these jobs, which came to rest, to the first that waits for each.

    Who was queued into a thread before its job came to rest is seen: that commit came first
    (`busy`).
    """
    if connection.dialect.name == "postgresql":
        send(connection, _GRANT_ALL, (array("id", job_ids),))
    elif _WAITING.ask(connection, {}).fetchall():
        _GRANTS.run(connection, [{"id": job_id} for job_id in job_ids])
