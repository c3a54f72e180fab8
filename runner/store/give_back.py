"""Jobs that the store says a worker holds and that nobody carries: given back.

A live worker would starve them for ever (protocol.md section 8, change 7).
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

_HELD = "id = :id AND worker = :worker AND token = :token"
_OPEN = "state = 1 AND clock_closed_ms = 0"

_NOTED = text(
    f"""
    INSERT INTO attempt (job_id, generation, attempt, sender, intent_ms, closed_ms, why,
        http_status, request_id, run_id, error, detail, lateness_ms)
    SELECT id, generation, attempt, COALESCE(sender, ''), intent_ms, :wall_ms, 'hung_up',
        0, '', '', '', '', 0
    FROM job WHERE {_HELD} AND {_OPEN}
    """  # noqa: S608 - both parts are constants of this file
)
_FREED = text(
    f"""
    UPDATE job SET
        clock_closed_ms = CASE WHEN {_OPEN} THEN :now_ms ELSE clock_closed_ms END,
        doubted = CASE WHEN {_OPEN} THEN 1 ELSE doubted END,
        worker = NULL, token = token + 1
    WHERE {_HELD}
    """  # noqa: S608 - both parts are constants of this file
)


def give_back(
    connection: Connection,
    worker: str,
    jobs: Sequence[tuple[int, int]],
    *,
    now_ms: int,
    wall_ms: int,
) -> None:
    """Let go of jobs (id, token) that the worker still holds; an open attempt is closed.

    Nobody carries it, so nobody sends; not closed, it would wait for its sender for ever.
    """
    binds = [
        {"id": job_id, "token": token, "worker": worker, "now_ms": now_ms, "wall_ms": wall_ms}
        for job_id, token in jobs
    ]
    if binds:
        connection.execute(_NOTED, binds)
        connection.execute(_FREED, binds)
