"""A person's wish that jobs end: those that have asked nothing of the API end at once.

The others are only marked: a create under way may have made a run, and a run is cancelled at the
API and followed to its end (protocol.md section 2, rows 17 to 19).
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection, Row, bindparam, text

from runner.core.model import JobState, Reason
from runner.core.states import Event, step
from runner.store import turns
from runner.store.listen import tell_others
from runner.store.sums import note_ended
from runner.store.tally import Deltas, change, moved

_LOOK = """
    SELECT id, batch_id, origin, state, worker, thread_id, own_thread, generation, doubted FROM job
    WHERE id IN :ids AND state < 3 ORDER BY id
"""
_OPEN = text(_LOOK).bindparams(bindparam("ids", expanding=True))
_OPEN_LOCKED = text(f"{_LOOK} FOR UPDATE").bindparams(bindparam("ids", expanding=True))
_END = text(
    """
    UPDATE job SET state = 5, status = :status, ended_ms = :wall_ms, blocked = 0,
        clock_not_before_ms = 0, blocked_by = NULL, token = token + 1
    WHERE id IN :ids
    """
).bindparams(bindparam("ids", expanding=True))
_OUTCOME = text(
    """
    INSERT INTO outcome (job_id, generation, status, http_status, request_id, attempts,
        created_ms, ended_ms)
    SELECT id, generation, CAST(:status AS VARCHAR), 0, '', attempt, 0, :wall_ms
    FROM job WHERE id IN :ids
    """
).bindparams(bindparam("ids", expanding=True))
_ASK = text("UPDATE job SET cancel_asked = 1 WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)


class Cancelled(Struct, frozen=True):
    """How many jobs ended at once, and of how many the end was asked; sums with `+`.

    `unknown` are names that no job of the batch has.
    """

    ended: int = 0
    asked: int = 0
    unknown: tuple[str, ...] = ()

    def __add__(self, other: "Cancelled") -> "Cancelled":
        return Cancelled(
            self.ended + other.ended, self.asked + other.asked, self.unknown + other.unknown
        )


def cancel(connection: Connection, ids: Sequence[int], wall_ms: int) -> Cancelled:
    """Cancel those of these jobs that are not at rest, in one transaction."""
    look = _OPEN_LOCKED if connection.dialect.name == "postgresql" else _OPEN
    rows = connection.execute(look, {"ids": list(ids)}).all()
    # A queued job that a worker holds may be on its way to its intent: its worker ends it. So does
    # the worker of one that was ever in doubt: an earlier attempt of it may still arrive.
    ending = [row for row in rows if row.state == 0 and row.worker is None and not row.doubted]
    ended = {row.id for row in ending}
    asked = [row.id for row in rows if row.id not in ended]
    if asked:
        connection.execute(_ASK, {"ids": asked})
        tell_others(connection)
    if ending:
        _end(connection, ending, wall_ms)
    return Cancelled(len(ending), len(asked))


def _end(connection: Connection, rows: Sequence[Row[object]], wall_ms: int) -> None:
    ids = [row.id for row in rows]
    binds = {"ids": ids, "status": Reason.CANCELLED.value, "wall_ms": wall_ms}
    connection.execute(_END, binds)
    connection.execute(_OUTCOME, binds)
    shared: dict[int, set[str]] = {}
    deltas: Deltas = Counter()
    cancelled = step(JobState.QUEUED, Event.CANCEL)
    for row in rows:
        if row.thread_id is not None and not row.own_thread:
            shared.setdefault(row.origin, set()).add(row.thread_id)
        before, after = (JobState.QUEUED, ""), (cancelled, Reason.CANCELLED.value)
        moved(deltas, row.batch_id, before, after)
    for origin, threads in sorted(shared.items()):
        turns.grant(connection, origin, threads)
    for batch_id in sorted({row.batch_id for row in rows}):
        note_ended(connection, batch_id, wall_ms)
    change(connection, deltas)
