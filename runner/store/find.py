"""One job with all that is known of it, for `show`."""

from msgspec import Struct
from sqlalchemy import Connection, Row, text

from runner.core.keys import idempotency_key
from runner.core.model import ApiError, JobState, Usage
from runner.store.columns import STATES
from runner.store.outcomes import error_of, usage_of


class AttemptSeen(Struct, frozen=True):
    """One line of evidence: `why` and the rest as in `core.moves.Evidence`; unix ms, 0 = never."""

    generation: int
    attempt: int
    sender: str
    intent_ms: int
    closed_ms: int
    why: str
    http_status: int
    request_id: str
    run_id: str
    error: ApiError | None
    detail: str
    lateness_ms: int


class OutcomeSeen(Struct, frozen=True):
    """How a generation ended; the bytes are JSON as the API sent it."""

    generation: int
    status: str
    run_id: str | None
    run: bytes | None
    error: ApiError | None
    http_status: int
    request_id: str
    usage: Usage | None
    messages: bytes | None
    steps: bytes | None
    output_text: str | None
    attempts: int
    created_ms: int
    ended_ms: int


class JobSeen(Struct, frozen=True):
    """A job's row, its request, its evidence and its ends; wall times are unix ms, 0 = never.

    `waits_ms` is how long it is not to be claimed yet; `blocked`: another job of its thread has
    the turn.
    """

    id: int
    custom_id: str
    source: str
    line: int
    state: JobState
    status: str | None
    generation: int
    attempt: int
    key: str
    thread_id: str | None
    own_thread: bool
    run_id: str | None
    worker: str | None
    blocked: bool
    blocked_by: str | None
    doubted: bool
    cancel_asked: bool
    possible_double: bool
    waits_ms: int
    queued_ms: int
    intent_ms: int
    created_ms: int
    ended_ms: int
    body: bytes
    extra: bytes
    attempts: tuple[AttemptSeen, ...]
    outcomes: tuple[OutcomeSeen, ...]


class Found(Struct, frozen=True):
    """A job of that name, and its batch."""

    batch: str
    dialect: str
    base_url: str
    job: JobSeen


_JOBS = text(
    """
    SELECT b.name AS batch, b.dialect, b.base_url, b.uid, j.*, w.body, w.extra,
        COALESCE(s.path, '') AS path
    FROM batch b
    JOIN job j ON j.batch_id = b.id AND j.custom_id = :custom_id
    JOIN body w ON w.job_id = j.id
    LEFT JOIN source s ON s.id = j.source_id
    WHERE b.id = :batch_id OR :batch_id = 0
    ORDER BY b.id
    """
)
_ATTEMPTS = text("SELECT * FROM attempt WHERE job_id = :job_id ORDER BY id")
_OUTCOMES = text("SELECT * FROM outcome WHERE job_id = :job_id ORDER BY generation")


def find(connection: Connection, custom_id: str, batch_id: int | None, now_ms: int) -> list[Found]:
    """Return the jobs of that name, in one batch or in all; `now_ms` by the store's clock."""
    binds = {"custom_id": custom_id, "batch_id": batch_id or 0}
    return [
        Found(row.batch, row.dialect, row.base_url, _job(connection, row, now_ms))
        for row in connection.execute(_JOBS, binds).all()
    ]


def _job(connection: Connection, row: Row[object], now_ms: int) -> JobSeen:
    binds = {"job_id": row.id}
    return JobSeen(
        id=row.id,
        custom_id=row.custom_id,
        source=row.path,
        line=row.line,
        state=STATES[row.state],
        status=row.status,
        generation=row.generation,
        attempt=row.attempt,
        key=idempotency_key(row.uid, row.custom_id, row.generation),
        thread_id=row.thread_id,
        own_thread=bool(row.own_thread),
        run_id=row.run_id,
        worker=row.worker,
        blocked=bool(row.blocked),
        blocked_by=row.blocked_by,
        doubted=bool(row.doubted),
        cancel_asked=bool(row.cancel_asked),
        possible_double=bool(row.possible_double),
        waits_ms=max(0, row.clock_not_before_ms - now_ms) if row.clock_not_before_ms else 0,
        queued_ms=row.queued_ms,
        intent_ms=row.intent_ms,
        created_ms=row.created_ms,
        ended_ms=row.ended_ms,
        body=row.body,
        extra=row.extra,
        attempts=tuple(_attempt(one) for one in connection.execute(_ATTEMPTS, binds)),
        outcomes=tuple(_outcome(one) for one in connection.execute(_OUTCOMES, binds)),
    )


def _attempt(row: Row[object]) -> AttemptSeen:
    return AttemptSeen(
        row.generation,
        row.attempt,
        row.sender,
        row.intent_ms,
        row.closed_ms,
        row.why,
        row.http_status,
        row.request_id,
        row.run_id,
        error_of(row.error),
        row.detail,
        row.lateness_ms,
    )


def _outcome(row: Row[object]) -> OutcomeSeen:
    return OutcomeSeen(
        row.generation,
        row.status,
        row.run_id,
        row.run,
        error_of(row.error),
        row.http_status,
        row.request_id,
        usage_of(row),
        row.messages,
        row.steps,
        row.output_text,
        row.attempts,
        row.created_ms,
        row.ended_ms,
    )
