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
from runner.store.reads import lanes as lanes_of

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
DUE = text(
    """
    SELECT id FROM job
    WHERE batch_id = :batch_id AND idle_state = 0
    AND clock_not_before_ms > 0 AND clock_not_before_ms <= :now_ms
    ORDER BY clock_not_before_ms LIMIT :most
    """
)
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
# On PostgreSQL a statement finds, takes and reads. ARRAY(...): it is asked once, whatever the plan;
# and the ids as one value, since two hundred parameters cost more than the jobs.
_TAKE_THESE = f"""
    UPDATE job j SET worker = %(me)s, token = j.token + 1
    FROM body b, batch t
    WHERE j.id = ANY({{}}) AND b.job_id = j.id AND t.id = j.batch_id
    RETURNING {_COLUMNS}
    """  # noqa: S608 - the columns are a constant of this file
_TAKE_IDS = _TAKE_THESE.format("%(ids)s::bigint[]")
# As ranges, and ordered by them: an equal sign would let PostgreSQL read the primary key in its
# order instead, through all jobs at rest, where most jobs could be claimed when it last counted.
_READY_LOCKED = """
        SELECT id FROM job
        WHERE batch_id >= {batch} AND batch_id <= {batch} AND lane >= {lane} AND lane <= {lane}
        AND idle_state = 0 AND blocked = 0 AND clock_not_before_ms = 0
        ORDER BY batch_id, lane, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
    """
_TAKE_OF_LANE = _TAKE_THESE.format(
    f"ARRAY({_READY_LOCKED.format(batch='%(batch_id)s', lane='%(lane)s')})"
)
_TAKE_OF_ANY = _TAKE_THESE.format(
    f"""ARRAY(
        SELECT oldest.id FROM lane l
        CROSS JOIN LATERAL ({_READY_LOCKED.format(batch="l.batch_id", lane="l.number")}) AS oldest
        WHERE l.batch_id = %(batch_id)s ORDER BY oldest.id LIMIT %(most)s
    )"""  # noqa: S608 - the parts are constants of this file
)
_WAKE_DUE = """
    UPDATE job SET clock_not_before_ms = 0 WHERE id = ANY(ARRAY(
        SELECT id FROM job
        WHERE batch_id = %(batch_id)s AND idle_state = 0
        AND clock_not_before_ms > 0 AND clock_not_before_ms <= %(now_ms)s
        ORDER BY clock_not_before_ms LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ))
    """
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
    wants = [want for want in wants if want.limit > 0]
    if connection.dialect.name == "postgresql":
        return _claim_in_a_pipeline(connection, me, wants, batch_ids, now_ms)
    require_lease(connection, me)
    for batch_id in batch_ids:
        _wake(connection, batch_id, now_ms)
    ids: list[int] = []
    for want in wants:
        ids += _ready(connection, want, set(ids))
    return _take(connection, me, ids)


def _claim_in_a_pipeline(
    connection: Connection,
    me: str,
    wants: Sequence[Want],
    batch_ids: Sequence[int],
    now_ms: int,
) -> list[Job]:
    with pipelined(connection):
        good = _good(connection, me)
        for batch_id in batch_ids:
            due: Binds = {"batch_id": batch_id, "now_ms": now_ms, "most": WAKE}
            send(connection, _WAKE_DUE, due)
        taken: list[Answer] = []
        for want in wants:
            binds: Binds = {"me": me, "batch_id": want.batch_id, "most": want.limit}
            if want.lane is None:
                taken.append(send(connection, _TAKE_OF_ANY, binds, binary=True))
            else:
                of_lane = {**binds, "lane": want.lane}
                taken.append(send(connection, _TAKE_OF_LANE, of_lane, binary=True))
    _require(good, me)
    return [job for answer in taken for job in _jobs(answer)]


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


_READY = Prepared(READY)
_STATEMENTS = {
    ("good", "sqlite"): Prepared(GOOD),
    ("good", "postgresql"): Prepared(_GOOD_SHARED),
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


def _wake(connection: Connection, batch_id: int, now_ms: int) -> None:
    binds = {"batch_id": batch_id, "now_ms": now_ms, "most": WAKE}
    due = list(connection.scalars(DUE, binds))
    if due:
        connection.execute(_WAKE, {"ids": due})


def _ready(connection: Connection, want: Want, taken: set[int]) -> list[int]:
    """Return the oldest claimable jobs; one look a lane, each in the index's own order."""
    lanes = lanes_of(connection, want.batch_id) if want.lane is None else [want.lane]
    # Two wants may name one lane: what the first took is still ready until all is taken.
    most = want.limit + len(taken)
    ids: set[int] = set()
    for lane in lanes:
        binds: Binds = {"batch_id": want.batch_id, "lane": lane, "most": most}
        ids.update(_numbers(_READY.ask(connection, binds)))
    return sorted(ids - taken)[: want.limit]


def _take(connection: Connection, me: str, ids: Sequence[int]) -> list[Job]:
    jobs: list[Job] = []
    for start in range(0, len(ids), 1000):
        some = list(ids[start : start + 1000])
        if connection.dialect.name == "postgresql":
            binds: Binds = {"me": me, "ids": array("id", some)}
            jobs += _jobs(send(connection, _TAKE_IDS, binds, binary=True))
        else:
            connection.execute(_TAKE, {"me": me, "ids": some})
            jobs += map(_job, map(tuple, connection.execute(_CARRIED, {"ids": some})))
    return jobs


def _jobs(answer: Answer) -> list[Job]:
    rows = cast("Sequence[_Fields]", answer.fetchall())
    return list(map(_job, sorted(rows, key=itemgetter(0))))


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
