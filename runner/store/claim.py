"""Claiming: a worker becomes the holder of jobs, and what is left to be claimed.

Every statement here is an index look-up, at ten million jobs too; the plans are asserted on both
engines. The conditions of a partial index are written as literals, so that each planner sees that
the index fits (performance.md section C, trap 2).
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import cast

from msgspec import Struct
from sqlalchemy import Connection, bindparam, text

from runner.core.errors import LeaseLost
from runner.core.keys import idempotency_key
from runner.core.model import Job, JobState
from runner.store.columns import STATES
from runner.store.pipeline import Answer, pipelined, send
from runner.store.prepared import Binds, Prepared, array

WAKE = 1000
"""Most due jobs that one claim wakes: a claim stays short when many are due at once."""


class Want(Struct, frozen=True):
    """How many jobs a worker could carry of a batch; `lane` None takes of any lane."""

    batch_id: int
    lane: int | None
    limit: int


class Left(Struct, frozen=True):
    """Jobs not at rest, by state; `held_by_others` of them have a holder that is not the asker."""

    queued: int = 0
    submitting: int = 0
    running: int = 0
    held_by_others: int = 0

    @property
    def jobs(self) -> int:
        """Return how many jobs are not at rest."""
        return self.queued + self.submitting + self.running


GOOD = text("SELECT 1 FROM worker WHERE id = :me AND taken = 0")
# FOR SHARE: on PostgreSQL a taking-over must not pass between this look and our commit.
_GOOD_SHARED = text("SELECT 1 FROM worker WHERE id = :me AND taken = 0 FOR SHARE")
_LANES = Prepared(text("SELECT number FROM lane WHERE batch_id = :batch_id ORDER BY number"))
DUE = text(
    """
    SELECT id FROM job
    WHERE batch_id = :batch_id AND idle_state = 0
    AND clock_not_before_ms > 0 AND clock_not_before_ms <= :now_ms
    ORDER BY clock_not_before_ms LIMIT :most
    """
)
_DUE_LOCKED = text(f"{DUE.text} FOR UPDATE SKIP LOCKED")
_WAKE = text("UPDATE job SET clock_not_before_ms = 0 WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
READY = text(
    """
    SELECT id FROM job
    WHERE batch_id = :batch_id AND lane = :lane
    AND idle_state = 0 AND blocked = 0 AND clock_not_before_ms = 0
    ORDER BY id LIMIT :most
    """
)
# As ranges, and ordered by them: an equal sign would let PostgreSQL read the primary key in its
# order instead, through all jobs at rest, where most jobs could be claimed when it last counted.
READY_LOCKED = text(
    """
    SELECT id FROM job
    WHERE batch_id = :batch_id AND lane >= :lane AND lane <= :lane
    AND idle_state = 0 AND blocked = 0 AND clock_not_before_ms = 0
    ORDER BY batch_id, lane, id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
ADRIFT = text(
    """
    SELECT id FROM job
    WHERE batch_id = :batch_id AND idle_state IN (1, 2)
    ORDER BY id LIMIT :most
    """
)
ADRIFT_LOCKED = text(
    """
    SELECT id FROM job
    WHERE batch_id >= :batch_id AND batch_id <= :batch_id AND idle_state IN (1, 2)
    ORDER BY batch_id, id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
_TAKE = text("UPDATE job SET worker = :me, token = token + 1 WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_COLUMNS = """
    j.id, j.batch_id, j.custom_id, j.state, j.generation, j.attempt, j.token, j.thread_id,
    j.own_thread, j.lane, j.doubted, j.clock_closed_ms, j.presumed, j.slow_close,
    j.first_intent_ms, j.cancel_asked, j.refusals, j.run_id, j.created_ms, b.body, b.extra, t.uid
"""
_CARRIED = text(
    f"""
    SELECT {_COLUMNS}
    FROM job j JOIN body b ON b.job_id = j.id JOIN batch t ON t.id = j.batch_id
    WHERE j.id IN :ids ORDER BY j.id
    """  # noqa: S608 - the columns are a constant of this file
).bindparams(bindparam("ids", expanding=True))
# Both in one, and the ids as one value: two hundred parameters cost more than the jobs.
_TAKEN = f"""
    UPDATE job j SET worker = %s, token = j.token + 1
    FROM body b, batch t
    WHERE j.id = ANY(%s::bigint[]) AND b.job_id = j.id AND t.id = j.batch_id
    RETURNING {_COLUMNS}
    """  # noqa: S608 - the columns are a constant of this file
HELD = text("SELECT id, token FROM job WHERE worker = :me ORDER BY id")
NEXT_DUE = text(
    """
    SELECT clock_not_before_ms FROM job
    WHERE batch_id = :batch_id AND idle_state = 0 AND clock_not_before_ms > 0
    ORDER BY clock_not_before_ms LIMIT 1
    """
)
_LEFT = text(
    "SELECT state, SUM(jobs) FROM tally WHERE batch_id IN :batch_ids AND state < 3 GROUP BY state"
).bindparams(bindparam("batch_ids", expanding=True))
_OTHERS = text(
    """
    SELECT COUNT(*) FROM job
    WHERE worker IS NOT NULL AND worker <> :me AND state < 3 AND batch_id IN :batch_ids
    """
).bindparams(bindparam("batch_ids", expanding=True))

_Fields = tuple[
    int, int, str, int, int, int, int, str | None, int, int, int, int, int, int, int, int, int,
    str | None, int, bytes, bytes, str,
]  # fmt: skip


def claim(connection: Connection, me: str, wants: Sequence[Want], now_ms: int) -> list[Job]:
    """Wake what is due and take up to `limit` claimable jobs for each want, the oldest first.

    `LeaseLost` where this incarnation has been taken over: it must take a new id first, else a
    job would belong to a worker that others hold for dead (protocol.md section 5).
    """
    batch_ids = sorted({want.batch_id for want in wants})
    every = sorted({want.batch_id for want in wants if want.lane is None})
    with pipelined(connection):
        good = _good(connection, me)
        due = [_due(connection, batch_id, now_ms) for batch_id in batch_ids]
        lanes = {one: _LANES.ask(connection, {"batch_id": one}) for one in every}
    _require(good, me)
    _wake(connection, [job_id for answer in due for job_id in _numbers(answer)])
    numbers = {batch_id: _numbers(answer) for batch_id, answer in lanes.items()}
    ids: list[int] = []
    for want in wants:
        if want.limit > 0:
            of_it = numbers[want.batch_id] if want.lane is None else [want.lane]
            ids += _ready(connection, want, of_it, set(ids))
    return _take(connection, me, ids)


def claim_adrift(
    connection: Connection, me: str, batch_ids: Sequence[int], limit: int
) -> list[Job]:
    """Take up to `limit` submitting or running jobs that nobody holds."""
    require_lease(connection, me)
    ids: list[int] = []
    for batch_id in batch_ids:
        if len(ids) < limit:
            binds: Binds = {"batch_id": batch_id, "most": limit - len(ids)}
            ids += _numbers(_ask(connection, "adrift", binds))
    return _take(connection, me, ids)


def require_lease(connection: Connection, me: str) -> None:
    """Raise `LeaseLost` where this incarnation is not, or no more, among the living."""
    _require(_good(connection, me), me)


def held_by(connection: Connection, me: str) -> list[tuple[int, int]]:
    """Return the ids and tokens of the jobs that a worker holds."""
    return [(job_id, token) for job_id, token in connection.execute(HELD, {"me": me})]


def next_due_ms(connection: Connection, batch_ids: Sequence[int]) -> int | None:
    """Return when the first delayed job of these batches may go, on the store's clock."""
    found = [
        connection.scalar(NEXT_DUE, {"batch_id": batch_id}) for batch_id in sorted(set(batch_ids))
    ]
    return min((int(due) for due in found if due is not None), default=None)


def left(connection: Connection, batch_ids: Sequence[int], me: str) -> Left:
    """Return how many jobs of these batches are not at rest."""
    binds: Mapping[str, object] = {"batch_ids": list(batch_ids), "me": me}
    counts = {STATES[state]: int(jobs) for state, jobs in connection.execute(_LEFT, binds)}
    return Left(
        queued=counts.get(JobState.QUEUED, 0),
        submitting=counts.get(JobState.SUBMITTING, 0),
        running=counts.get(JobState.RUNNING, 0),
        held_by_others=int(connection.scalar(_OTHERS, binds) or 0),
    )


_STATEMENTS = {
    ("good", "sqlite"): Prepared(GOOD),
    ("good", "postgresql"): Prepared(_GOOD_SHARED),
    ("due", "sqlite"): Prepared(DUE),
    ("due", "postgresql"): Prepared(_DUE_LOCKED),
    ("ready", "sqlite"): Prepared(READY),
    ("ready", "postgresql"): Prepared(READY_LOCKED),
    ("adrift", "sqlite"): Prepared(ADRIFT),
    ("adrift", "postgresql"): Prepared(ADRIFT_LOCKED),
}


def _ask(connection: Connection, what: str, binds: Binds) -> Answer:
    return _STATEMENTS[what, connection.dialect.name].ask(connection, binds)


def _numbers(answer: Answer) -> list[int]:
    return [int(str(row[0])) for row in answer.fetchall()]


def _good(connection: Connection, me: str) -> Answer:
    return _ask(connection, "good", {"me": me})


def _require(good: Answer, me: str) -> None:
    if not good.fetchall():
        raise LeaseLost(f"worker {me} was taken over")


def _due(connection: Connection, batch_id: int, now_ms: int) -> Answer:
    return _ask(connection, "due", {"batch_id": batch_id, "now_ms": now_ms, "most": WAKE})


def _wake(connection: Connection, due: Sequence[int]) -> None:
    for start in range(0, len(due), WAKE):
        connection.execute(_WAKE, {"ids": due[start : start + WAKE]})


def _ready(connection: Connection, want: Want, lanes: Sequence[int], taken: set[int]) -> list[int]:
    """Return the oldest claimable jobs; one look a lane, each in the index's own order."""
    # Two wants may name one lane: what the first took is still ready until all is taken.
    most = want.limit + len(taken)
    with pipelined(connection):
        found = [
            _ask(connection, "ready", {"batch_id": want.batch_id, "lane": lane, "most": most})
            for lane in lanes
        ]
    ids = {job_id for answer in found for job_id in _numbers(answer)}
    return sorted(ids - taken)[: want.limit]


def _take(connection: Connection, me: str, ids: Sequence[int]) -> list[Job]:
    jobs: list[Job] = []
    for start in range(0, len(ids), 1000):
        some = list(ids[start : start + 1000])
        if connection.dialect.name == "postgresql":
            taken = send(connection, _TAKEN, (me, array("id", some)), binary=True)
            found = sorted(cast("Sequence[_Fields]", taken.fetchall()), key=itemgetter(0))
        else:
            connection.execute(_TAKE, {"me": me, "ids": some})
            found = list(map(tuple, connection.execute(_CARRIED, {"ids": some})))
        jobs += map(_job, found)
    return jobs


def _job(row: _Fields) -> Job:
    (
        job_id, batch_id, custom_id, state, generation, attempt, token, thread_id, own_thread,
        lane, doubted, closed_ms, presumed, slow_close, first_intent_ms, cancel_asked, refusals,
        run_id, created_ms, body, extra, uid,
    ) = row  # fmt: skip
    return Job(
        id=job_id,
        batch_id=batch_id,
        custom_id=custom_id,
        state=STATES[state],
        generation=generation,
        attempt=attempt,
        token=token,
        key=idempotency_key(uid, custom_id, generation),
        thread_id=thread_id,
        own_thread=bool(own_thread),
        lane=lane,
        doubted=bool(doubted),
        closed_ms=closed_ms,
        presumed=bool(presumed),
        slow_close=bool(slow_close),
        first_intent_ms=first_intent_ms,
        cancel_asked=bool(cancel_asked),
        refusals=refusals,
        run_id=run_id,
        created_ms=created_ms,
        body=body,
        extra=extra,
    )
