"""Tokens and causes of failure, kept in the transactions that end jobs, like the tally.

Call these before `tally.change`, in every transaction: on PostgreSQL all workers of a batch meet at
these rows, and in one order they cannot deadlock.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from sqlalchemy import Connection, bindparam, text

from runner.core.model import ApiError, JobState, Usage
from runner.core.moves import Settle
from runner.store.pipeline import Answer
from runner.store.prepared import Binds, Prepared
from runner.store.storable import storable

LONGEST_CODE = 100
LONGEST_MESSAGE = 300

_SPEND = text(
    """
    INSERT INTO spent (batch_id, prompt, completion, total, cached, reasoning, earlier, first_ms,
        last_ms)
    VALUES (:batch_id, :prompt, :completion, :total, :cached, :reasoning, :earlier, 0, :last_ms)
    ON CONFLICT (batch_id) DO UPDATE SET
        prompt = spent.prompt + excluded.prompt,
        completion = spent.completion + excluded.completion,
        total = spent.total + excluded.total,
        cached = spent.cached + excluded.cached,
        reasoning = spent.reasoning + excluded.reasoning,
        earlier = spent.earlier + excluded.earlier,
        last_ms = CASE WHEN excluded.last_ms > spent.last_ms
            THEN excluded.last_ms ELSE spent.last_ms END
    RETURNING first_ms
    """
)
_BEGAN = text(
    """
    UPDATE spent SET first_ms = COALESCE((
        SELECT MIN(began) FROM (
            SELECT MIN(intent_ms) AS began FROM job WHERE id IN :ids AND intent_ms > 0
            UNION ALL
            SELECT MIN(intent_ms) FROM job
            WHERE worker IS NOT NULL AND batch_id = :batch_id AND intent_ms > 0
        ) AS either
    ), :last_ms) WHERE batch_id = :batch_id
    """
).bindparams(bindparam("ids", expanding=True))
_CAUSED = text(
    """
    INSERT INTO cause (batch_id, status, code, message, jobs)
    VALUES (:batch_id, :status, :code, :message, :jobs)
    ON CONFLICT (batch_id, status, code) DO UPDATE SET jobs = cause.jobs + excluded.jobs
    """
)

_SPENDING, _CAUSES = Prepared(_SPEND), Prepared(_CAUSED, together=True)

CauseKey = tuple[int, str, str]
"""Batch id, status, and the error's code (its type or the status where it has none)."""


class Undone(Struct, frozen=True):
    """An end that is no longer its job's newest: `failed` whether it counted as a cause."""

    status: str
    failed: bool
    error: ApiError | None
    usage: Usage | None


def code_of(status: str, error: ApiError | None) -> str:
    """Return what failures are counted by."""
    spelt = (error.code or error.type) if error else ""
    return (spelt or status)[:LONGEST_CODE]


Begun = list[tuple[int, list[Settle], Answer]]
"""A batch's id, its ends, and when its first intent was: 0 where that is not known yet."""


def note_settled(connection: Connection, settles: Sequence[Settle], wall_ms: int) -> Begun:
    """Add the ends that were just written: tokens, and what failed the jobs that failed.

    What it returns is for `note_begun`, once all answers have arrived (`pipeline`).
    """
    by_batch: dict[int, list[Settle]] = {}
    for settle in settles:
        by_batch.setdefault(settle.held.batch_id, []).append(settle)
    begun: Begun = []
    causes: Counter[CauseKey] = Counter()
    messages: dict[CauseKey, str] = {}
    for batch_id, ends in sorted(by_batch.items()):
        now = [end.usage for end in ends if end.usage and not end.again]
        before = sum(end.usage.total for end in ends if end.usage and end.again)
        began = _spend(connection, batch_id, now, sign=1, earlier=before, last_ms=wall_ms)
        begun.append((batch_id, ends, began))
        for end in ends:
            if end.state is JobState.FAILED and not end.again:
                key = (batch_id, end.status, code_of(end.status, end.error))
                causes[key] += 1
                messages.setdefault(key, end.error.message if end.error else "")
    _count(connection, causes, messages)
    return begun


def note_begun(connection: Connection, begun: Begun, wall_ms: int) -> None:
    """Note when a batch's first intent was, where these are its first ends."""
    for batch_id, ends, began in begun:
        if began.fetchall()[0][0] == 0:
            ids = [end.held.job_id for end in ends]
            connection.execute(_BEGAN, {"batch_id": batch_id, "ids": ids, "last_ms": wall_ms})


def note_ended(connection: Connection, batch_id: int, wall_ms: int) -> None:
    """Note that jobs of a batch ended without a run."""
    _spend(connection, batch_id, (), sign=1, earlier=0, last_ms=wall_ms)


def note_undone(connection: Connection, batch_id: int, ends: Iterable[Undone]) -> None:
    """Take back ends whose jobs go on: their tokens become earlier ones, their causes go."""
    usages: list[Usage] = []
    causes: Counter[CauseKey] = Counter()
    for end in ends:
        if end.usage is not None:
            usages.append(end.usage)
        if end.failed:
            causes[batch_id, end.status, code_of(end.status, end.error)] -= 1
    if usages:
        earlier = sum(usage.total for usage in usages)
        _spend(connection, batch_id, usages, sign=-1, earlier=earlier, last_ms=0)
    _count(connection, causes, {})


def _spend(
    connection: Connection,
    batch_id: int,
    usages: Sequence[Usage],
    *,
    sign: int,
    earlier: int,
    last_ms: int,
) -> Answer:
    """Change a batch's tokens; the answer is when its first intent was, 0 where not yet known."""
    binds: Binds = {
        "batch_id": batch_id,
        "prompt": sign * sum(usage.prompt for usage in usages),
        "completion": sign * sum(usage.completion for usage in usages),
        "total": sign * sum(usage.total for usage in usages),
        "cached": sign * sum(usage.cached for usage in usages),
        "reasoning": sign * sum(usage.reasoning for usage in usages),
        "earlier": earlier,
        "last_ms": last_ms,
    }
    return _SPENDING.ask(connection, binds)


def _count(
    connection: Connection, causes: Counter[CauseKey], messages: Mapping[CauseKey, str]
) -> None:
    rows: list[Binds] = [
        {
            "batch_id": key[0],
            "status": storable(key[1]),
            "code": storable(key[2]),
            "message": storable(messages.get(key, "")[:LONGEST_MESSAGE]),
            "jobs": jobs,
        }
        for key, jobs in sorted(causes.items())
        if jobs
    ]
    if rows:
        _CAUSES.run(connection, rows)
