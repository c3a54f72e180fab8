"""What moves now and what holds it back: for whoever watches processes that do not tell it.

A pool knows its own. Of others the database shows what was sent and has not ended, the gates, and
how far ahead permits are granted; what each lets in flight for its own reasons it does not.
"""

from collections.abc import Sequence

from msgspec import Struct

from runner.core.model import JobState
from runner.core.pacing import slice_s
from runner.core.progress import Progress
from runner.store.budgets import BudgetRow

NEARLY = 0.9
"""A place is empty for a moment between two runs: so many in use are as good as all."""


class Flow(Struct, frozen=True):
    """`ceiling` runs may be in flight, None: not known. `limits` as in `View`."""

    in_flight: int
    ceiling: int | None
    limits: str


def in_flight(stands: Sequence[Progress]) -> int:
    """Return how many runs of these batches were sent and have not ended, by whomever."""
    return sum(progress.of(JobState.SUBMITTING, JobState.RUNNING) for progress in stands)


def flow_of_others(
    stands: Sequence[Progress], budgets: Sequence[BudgetRow], concurrency: int, workers: int
) -> Flow:
    """Return what so many other processes have in flight of these batches, and what limits them.

    `budgets` are the database's, of whatever accounts.
    """
    flying = in_flight(stands)
    if not any(progress.of(JobState.QUEUED) for progress in stands):
        return Flow(flying, None, "")
    bases = {progress.base_url for progress in stands}
    rows = [row for row in budgets if row.account.rpartition(" ")[0] in bases]
    creates = [row for row in rows if row.kind == "creates"]
    if any(row.closed_until > row.db_now for row in creates):
        return Flow(flying, None, "server")
    if flying >= NEARLY * workers * max(1, concurrency // workers):
        return Flow(flying, concurrency, "concurrency")
    if any(row.kind == "tokens" and row.closed_until > row.db_now for row in rows):
        return Flow(flying, None, "tokens")
    # Permits are granted so far ahead only where more are wanted than there are.
    ahead_s = slice_s(workers)
    if any(row.lim is not None and row.tat > row.db_now + ahead_s for row in creates):
        return Flow(flying, None, "rate")
    return Flow(flying, None, "")
