"""What the store knows of each thread's runs, for comparing it with what the API says."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct
from sqlalchemy import Connection, Row, TextClause, bindparam, text

from runner.core.keys import idempotency_key
from runner.core.model import JobState
from runner.core.states import Event, step
from runner.store.columns import NUMBER, STATES
from runner.store.outcomes import error_of, usage_of
from runner.store.sums import Undone, note_undone
from runner.store.tally import Deltas, change, moved

CHUNK = 5000


class RunSeen(Struct, frozen=True):
    """A run that a generation ended with, or has now (`status` "" while it is followed)."""

    generation: int
    run_id: str
    status: str


class ThreadJob(Struct, frozen=True):
    """A job as an audit compares it.

    `keys` are the idempotency keys of generations 1, 2, …; `doubles` further runs that were told;
    `noted` runs that evidence alone names. `open`: a create may be under way still; `closed_ms`
    when it was closed (store's clock), 0 = never.
    """

    id: int
    custom_id: str
    state: JobState
    status: str | None
    generation: int
    attempt: int
    own_thread: bool
    run_id: str | None
    keys: tuple[str, ...]
    runs: tuple[RunSeen, ...]
    doubles: tuple[str, ...]
    noted: tuple[str, ...]
    open: bool
    closed_ms: int
    presumed: bool
    slow_close: bool
    possible_double: bool


class ThreadSeen(Struct, frozen=True):
    """A thread and the jobs of the batch on it; None: a job that has no thread, alone."""

    thread_id: str | None
    jobs: tuple[ThreadJob, ...]


_JOBS = text(
    """
    SELECT j.*, b.uid FROM job j JOIN batch b ON b.id = j.batch_id
    WHERE j.batch_id = :batch_id AND (j.thread_id, j.id) > (:thread_id, :after)
    ORDER BY j.thread_id, j.id LIMIT :most
    """
)
# Of jobs without a thread only those that may have asked for a run.
_THREADLESS = text(
    """
    SELECT j.*, b.uid FROM job j JOIN batch b ON b.id = j.batch_id
    WHERE +j.batch_id = :batch_id AND j.thread_id IS NULL AND j.id > :after
    AND (j.attempt > 0 OR j.generation > 1)
    ORDER BY j.id LIMIT :most
    """
)
_KNOWN = text(
    """
    SELECT j.*, b.uid FROM job j JOIN batch b ON b.id = j.batch_id WHERE j.id IN :ids ORDER BY j.id
    """
).bindparams(bindparam("ids", expanding=True))
_RUNS = text(
    """
    SELECT job_id, generation, run_id, status FROM outcome
    WHERE job_id IN :ids AND run_id IS NOT NULL ORDER BY job_id, generation
    """
).bindparams(bindparam("ids", expanding=True))
_EVIDENCE = text(
    """
    SELECT DISTINCT job_id, why, run_id FROM attempt WHERE job_id IN :ids AND run_id <> ''
    ORDER BY job_id, run_id
    """
).bindparams(bindparam("ids", expanding=True))

_LOST_LOOK = """
    SELECT j.batch_id, j.state, j.status, j.attempt, o.error,
        o.prompt_tokens, o.completion_tokens, o.total_tokens, o.cached_tokens, o.reasoning_tokens
    FROM job j LEFT JOIN outcome o ON o.job_id = j.id AND o.generation = j.generation
    WHERE j.id = :job_id AND j.generation = :generation AND j.state IN (4, 5)
    AND j.run_id IS NULL
"""
_LOST = text(_LOST_LOOK)
_LOST_LOCKED = text(f"{_LOST_LOOK} FOR UPDATE OF j")
_ADOPT = text(
    """
    UPDATE job SET state = :state, status = NULL, run_id = :run_id, created_ms = :wall_ms,
        ended_ms = 0, worker = NULL, token = token + 1, blocked = 0, blocked_by = NULL
    WHERE id = :job_id
    """
)
_FORGET_END = text("DELETE FROM outcome WHERE job_id = :job_id AND generation = :generation")
_ADOPTED = text(
    """
    INSERT INTO attempt (job_id, generation, attempt, sender, intent_ms, closed_ms, why,
        http_status, request_id, run_id, error, detail, lateness_ms)
    SELECT id, generation, attempt, COALESCE(sender, ''), intent_ms, :wall_ms, 'adopted',
        0, '', CAST(:run_id AS VARCHAR), '', 'audit', 0
    FROM job WHERE id = :job_id
    """
)


Rows: TypeAlias = list[tuple[str | None, ThreadJob]]
Read = Callable[[Callable[[Connection], Rows]], Rows]
Binds: TypeAlias = dict[str, int | str]


def threads(read: Read, batch_id: int) -> Iterator[ThreadSeen]:
    """Yield the batch's threads in the order of their ids, then the jobs without one."""
    thread: str | None = None
    jobs: list[ThreadJob] = []
    for name, job in _walk(read, _JOBS, batch_id):
        if jobs and name != thread:
            yield ThreadSeen(thread, tuple(jobs))
            jobs = []
        thread = name
        jobs.append(job)
    if jobs:
        yield ThreadSeen(thread, tuple(jobs))
    for _, job in _walk(read, _THREADLESS, batch_id):
        yield ThreadSeen(None, (job,))


def again(read: Read, thread: ThreadSeen) -> ThreadSeen:
    """Return a thread's jobs as they stand now."""
    ids = [job.id for job in thread.jobs]

    def verb(connection: Connection) -> Rows:
        chunks = (ids[start : start + 1000] for start in range(0, len(ids), 1000))
        rows = [row for chunk in chunks for row in connection.execute(_KNOWN, {"ids": chunk})]
        return _jobs(connection, rows)

    return ThreadSeen(thread.thread_id, tuple(job for _, job in read(verb)))


def _walk(
    read: Read, statement: TextClause, batch_id: int
) -> Iterator[tuple[str | None, ThreadJob]]:
    binds: Binds = {"batch_id": batch_id, "after": 0, "thread_id": "", "most": CHUNK}
    if statement is _THREADLESS:
        del binds["thread_id"]
    while True:

        def verb(connection: Connection, binds: Binds = binds) -> Rows:
            return _jobs(connection, connection.execute(statement, binds).all())

        found = read(verb)
        yield from found
        if len(found) < CHUNK:
            return
        thread, job = found[-1]
        binds = binds | {"after": job.id}
        if thread is not None:
            binds["thread_id"] = thread


def _jobs(connection: Connection, rows: Sequence[Row[*tuple[object, ...]]]) -> Rows:
    runs: dict[int, list[RunSeen]] = defaultdict(list)
    told: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for start in range(0, len(rows), 1000):
        ids = [row.id for row in rows[start : start + 1000]]
        for job_id, generation, run_id, status in connection.execute(_RUNS, {"ids": ids}):
            runs[job_id].append(RunSeen(generation, run_id, status))
        for job_id, why, run_id in connection.execute(_EVIDENCE, {"ids": ids}):
            told[job_id][why].add(run_id)
    return [(row.thread_id, _job(row, runs[row.id], told[row.id])) for row in rows]


def _job(
    row: Row[*tuple[object, ...]], runs: list[RunSeen], told: Mapping[str, set[str]]
) -> ThreadJob:
    state = STATES[row.state]
    if row.run_id is not None and not state.at_rest:
        runs = [*runs, RunSeen(row.generation, row.run_id, "")]
    own = {run.run_id for run in runs}
    doubles = told.get("double", set()) - own
    everything: set[str] = set().union(*told.values())
    return ThreadJob(
        id=row.id,
        custom_id=row.custom_id,
        state=state,
        status=row.status if state.at_rest else None,
        generation=row.generation,
        attempt=row.attempt,
        own_thread=bool(row.own_thread),
        run_id=row.run_id,
        keys=tuple(
            idempotency_key(row.uid, row.custom_id, generation)
            for generation in range(1, row.generation + 1)
        ),
        runs=tuple(runs),
        doubles=tuple(sorted(doubles)),
        noted=tuple(sorted(everything - own - doubles)),
        open=state is JobState.SUBMITTING and not row.clock_closed_ms,
        closed_ms=row.clock_closed_ms,
        presumed=bool(row.presumed),
        slow_close=bool(row.slow_close),
        possible_double=bool(row.possible_double),
    )


def adopt(connection: Connection, job_id: int, generation: int, run_id: str, wall_ms: int) -> bool:
    """Give a run to a job at rest that knows of none; False where it knows one, or has gone on.

    The job is running again and nobody's: a worker follows it to its end. A wish to cancel it
    stands. What its generation's end was is forgotten, the evidence is kept.
    """
    look = _LOST_LOCKED if connection.dialect.name == "postgresql" else _LOST
    binds: Binds = {"job_id": job_id, "generation": generation}
    row = connection.execute(look, binds).one_or_none()
    if row is None:
        return False
    state = STATES[row.state]
    running = step(state, Event.ADOPTED)
    binds |= {"run_id": run_id, "wall_ms": wall_ms}
    connection.execute(_ADOPTED, {name: binds[name] for name in ("job_id", "run_id", "wall_ms")})
    connection.execute(_FORGET_END, {"job_id": job_id, "generation": generation})
    connection.execute(
        _ADOPT,
        {"job_id": job_id, "run_id": run_id, "wall_ms": wall_ms, "state": NUMBER[running]},
    )
    failed = state is JobState.FAILED
    note_undone(
        connection, row.batch_id, [Undone(row.status, failed, error_of(row.error), usage_of(row))]
    )
    deltas: Deltas = Counter()
    moved(deltas, row.batch_id, (state, row.status), (running, ""))
    change(connection, deltas)
    return True
