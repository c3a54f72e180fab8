"""Counts kept, not counted: `status --watch` must not read ten million rows a tick."""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection, text

from runner.core.model import JobState
from runner.store.columns import NUMBER
from runner.store.prepared import Binds, Prepared

Deltas = Counter[tuple[int, int, str]]
"""Changes by (batch id, state's number, status); the status of a job not at rest is ""."""

_CHANGE = text(
    """
    INSERT INTO tally (batch_id, state, status, jobs)
    VALUES (:batch_id, :state, :status, :jobs)
    ON CONFLICT (batch_id, state, status) DO UPDATE SET jobs = tally.jobs + excluded.jobs
    """
)


_CHANGES = Prepared(_CHANGE, together=True)


def moved(
    deltas: Deltas,
    batch_id: int,
    before: tuple[JobState, str],
    after: tuple[JobState, str],
    jobs: int = 1,
) -> None:
    """Note that a job, or `jobs` of them, went from one (state, status) to another."""
    deltas[batch_id, NUMBER[before[0]], before[1]] -= jobs
    deltas[batch_id, NUMBER[after[0]], after[1]] += jobs


def change(connection: Connection, deltas: Mapping[tuple[int, int, str], int]) -> None:
    """Write the changes down, last in a transaction and in one order everywhere.

    On PostgreSQL all workers of a batch meet at these rows: in one order they cannot deadlock, and
    last they hold the rows for the length of a commit.
    """
    rows: list[Binds] = [
        {"batch_id": batch_id, "state": state, "status": status, "jobs": jobs}
        for (batch_id, state, status), jobs in sorted(deltas.items())
        if jobs
    ]
    if rows:
        _CHANGES.run(connection, rows)
