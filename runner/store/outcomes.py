"""Outcomes for the export: manifest order, by chunks, each a short read of its own.

A chunk holds as many rows as make about 4 MiB, so that memory stays flat whatever a run weighs,
and a reader never holds the journal back for long.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import asdict, replace
from sqlalchemy import Connection, Executable, Row, TextClause, bindparam, text

from runner.core.keys import idempotency_key
from runner.core.model import ApiError, JobState, Usage
from runner.core.outcome import Cause, Outcome
from runner.store.columns import NUMBER, STATES

CHUNK = 1000
FIRST_CHUNK = 100
LEAST = 10
CHUNK_BYTES = 4 * 1024 * 1024
STRETCH = 4 * CHUNK
"""Lines of a source that are looked at for a chunk; more where few of them are wanted."""
LONGEST_STRETCH = 200_000

AT_REST = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

Cursor: TypeAlias = tuple[int, int]
"""How far a reader is in the order of ending: (ended_ms, job id); (0, 0) is before all."""

_COLUMNS = """
    j.id, j.source_id, j.custom_id, j.line, j.state, j.status, j.thread_id, j.run_id, j.attempt,
    j.generation, j.queued_ms, j.created_ms, j.ended_ms, j.possible_double,
    o.run, o.messages, o.steps, o.deltas, o.output_text, o.error, o.http_status, o.request_id,
    o.prompt_tokens, o.completion_tokens, o.total_tokens, o.cached_tokens, o.reasoning_tokens
"""
_Blob: TypeAlias = bytes | None
_Tokens: TypeAlias = int | None
_Fields: TypeAlias = tuple[
    int, int, str, int, int, str | None, str | None, str | None, int,
    int, int, int, int, int,
    _Blob, _Blob, _Blob, _Blob, str | None, str | None, int | None, str | None,
    _Tokens, _Tokens, _Tokens, _Tokens, _Tokens,
]  # fmt: skip
"""A row of `_COLUMNS`."""

_NAMED = text("SELECT name, uid FROM batch WHERE id = :batch_id")
_EARLIER = text(
    """
    SELECT job_id, generation, run FROM outcome
    WHERE job_id IN :ids AND run IS NOT NULL ORDER BY job_id, generation
    """
).bindparams(bindparam("ids", expanding=True))
_TOLD = text(
    """
    SELECT job_id, why, run_id FROM attempt
    WHERE why IN ('double', 'noted') AND job_id IN :ids AND run_id <> '' ORDER BY id
    """
).bindparams(bindparam("ids", expanding=True))
_RUNS = text(
    "SELECT job_id, run_id FROM outcome WHERE job_id IN :ids AND run_id IS NOT NULL"
).bindparams(bindparam("ids", expanding=True))


_SETTLED = text(
    f"""
    SELECT {_COLUMNS}
    FROM job j LEFT JOIN outcome o ON o.job_id = j.id AND o.generation = j.generation
    WHERE j.batch_id = :batch_id AND j.idle_state >= 3
    AND (j.ended_ms, j.id) > (:ended_ms, :job_id)
    ORDER BY j.ended_ms, j.id LIMIT :most
    """  # noqa: S608 - the columns are a constant of this file
)


class _Place(Struct, frozen=True):
    """How far a reader is in the manifests' order: behind this row, in lines before `upto`."""

    source_id: int = -1
    line: int = -1
    job_id: int = -1
    upto: int = -1


def page(*, by_status: bool) -> TextClause:
    """Return the statement that reads the next rows of some lines of a source, in their order."""
    status = "AND j.status IN :statuses" if by_status else ""
    # One source and a bounded stretch of it: for a row value that begins with the source, and for
    # states that PostgreSQL thinks are rare, it would scan all jobs, for each page anew.
    statement = text(
        f"""
        SELECT {_COLUMNS}
        FROM job j LEFT JOIN outcome o ON o.job_id = j.id AND o.generation = j.generation
        WHERE j.batch_id = :batch_id AND j.source_id = :source_id
        AND j.line >= :line AND j.line < :upto AND (j.line, j.id) > (:line, :job_id)
        AND j.state IN :states {status}
        ORDER BY j.line, j.id LIMIT :most
        """  # noqa: S608 - the parts are constants of this file
    ).bindparams(bindparam("states", expanding=True))
    return statement.bindparams(bindparam("statuses", expanding=True)) if by_status else statement


_PAGE = page(by_status=False)
_PAGE_BY_STATUS = page(by_status=True)
_NEXT_LINE = text(
    """
    SELECT line FROM job WHERE batch_id = :batch_id AND source_id = :source_id AND line >= :line
    ORDER BY line LIMIT 1
    """
)
_NEXT_SOURCE = text(
    """
    SELECT source_id FROM job WHERE batch_id = :batch_id AND source_id > :source_id
    ORDER BY source_id LIMIT 1
    """
)


def outcomes(
    read: Callable[[Callable[[Connection], "Page"]], "Page"],
    batch_id: int,
    *,
    states: frozenset[JobState] | None,
    statuses: frozenset[str] | None,
    at_rest_only: bool,
) -> Iterator[Outcome]:
    """Yield a batch's outcomes in manifest order; `read` runs a verb in a read of its own.

    Not `at_rest_only`: jobs on their way too, without a status. A job that comes to rest behind
    the reader is left out or shown as it was; none is shown twice.
    """
    wanted = (states or frozenset(STATES)) & (AT_REST if at_rest_only else frozenset(STATES))
    numbers = sorted(NUMBER[state] for state in wanted)
    filters: dict[str, object] = {"batch_id": batch_id, "states": numbers}
    if statuses is not None:
        filters["statuses"] = sorted(statuses)
    statement = _PAGE if statuses is None else _PAGE_BY_STATUS
    after: _Place | None = _Place()
    most, stretch = FIRST_CHUNK, STRETCH
    while numbers and after is not None:

        def verb(
            connection: Connection, after: _Place = after, most: int = most, stretch: int = stretch
        ) -> Page:
            at = after if after.line < after.upto else _next(connection, batch_id, after, stretch)
            if at is None:
                return Page((), None, 0)
            return _page(connection, statement, batch_id, filters, at, most)

        found = read(verb)
        yield from found.outcomes
        after = found.after
        few = len(found.outcomes) < most // 2
        stretch = min(2 * stretch, LONGEST_STRETCH) if few else STRETCH
        if found.outcomes:
            most = min(CHUNK, max(LEAST, most * CHUNK_BYTES // max(found.weight, 1)))


class Page(Struct, frozen=True):
    """A chunk of outcomes: where to go on (None: all was read), and how many bytes they hold."""

    outcomes: Sequence[Outcome]
    after: _Place | None
    weight: int


def settled_since(
    read: Callable[
        [Callable[[Connection], list[tuple[Cursor, Outcome]]]], list[tuple[Cursor, Outcome]]
    ],
    batch_id: int,
    after: Cursor,
) -> Iterator[tuple[Cursor, Outcome]]:
    """Yield jobs at rest in the order of their ends, each with the cursor that stands behind it."""
    most = FIRST_CHUNK
    while True:

        def verb(
            connection: Connection, after: Cursor = after, most: int = most
        ) -> list[tuple[Cursor, Outcome]]:
            binds: dict[str, object] = {
                "batch_id": batch_id,
                "ended_ms": after[0],
                "job_id": after[1],
                "most": most,
            }
            rows = connection.execute(_SETTLED, binds).all()
            cursors = [(row.ended_ms, row.id) for row in rows]
            return list(zip(cursors, _outcomes(connection, batch_id, rows), strict=True))

        found = read(verb)
        yield from found
        if len(found) < most:
            return
        after = found[-1][0]


def _next(connection: Connection, batch_id: int, after: _Place, stretch: int) -> _Place | None:
    """Return the next stretch of lines that has jobs, in this source or the next; None at the end."""
    source_id, line = after.source_id, after.upto
    while True:
        binds = {"batch_id": batch_id, "source_id": source_id}
        found = connection.scalar(_NEXT_LINE, binds | {"line": line})
        if found is not None:
            return _Place(source_id, found, -1, found + stretch)
        source_id, line = connection.scalar(_NEXT_SOURCE, binds), -1
        if source_id is None:
            return None


def _page(
    connection: Connection,
    statement: Executable,
    batch_id: int,
    filters: dict[str, object],
    at: _Place,
    most: int,
) -> Page:
    rows = connection.execute(statement, {**filters, **asdict(at), "most": most}).all()
    last = rows[-1] if rows else None
    if last is None or len(rows) < most:
        after = replace(at, line=at.upto)
    else:
        after = replace(at, line=last.line, job_id=last.id)
    weight = sum(len(part) for row in rows for part in row[14:19] if part)
    return Page(_outcomes(connection, batch_id, rows), after, weight)


def _outcomes(
    connection: Connection, batch_id: int, rows: Sequence[Row[*_Fields]]
) -> list[Outcome]:
    if not rows:
        return []
    batch, uid = connection.execute(_NAMED, {"batch_id": batch_id}).one()
    generations = {row.id: row.generation for row in rows}
    earlier: dict[int, list[bytes]] = defaultdict(list)
    again = [job_id for job_id, generation in generations.items() if generation > 1]
    if again:
        for job_id, generation, run in connection.execute(_EARLIER, {"ids": again}):
            if generation < generations[job_id]:
                earlier[job_id].append(run)
    doubles = doubles_of(connection, {row.id: row.run_id for row in rows})
    return [
        _outcome(row, batch, uid, earlier.get(row[0], ()), doubles.get(row[0], ())) for row in rows
    ]


def _outcome(
    row: Row[*_Fields],
    batch: str,
    uid: str,
    earlier: Sequence[bytes],
    doubles: tuple[str, ...],
) -> Outcome:
    # By place and not by name: names cost five times as much, for each of ten million rows.
    (
        _job_id, _source_id, custom_id, line, state, status, thread_id, run_id, attempt,
        generation, queued_ms, created_ms, ended_ms, possible_double,
        run, messages, steps, deltas, output_text, error, http_status, request_id,
        prompt, completion, total, cached, reasoning,
    ) = row  # fmt: skip
    at_rest = STATES[state].at_rest
    return Outcome(
        batch=batch,
        custom_id=custom_id,
        line=line,
        state=STATES[state],
        status=status if at_rest else None,
        thread_id=thread_id,
        run_id=run_id,
        run=run,
        earlier_runs=tuple(earlier),
        messages=messages,
        steps=steps,
        output_text=output_text,
        deltas=deltas,
        error=_cause(error, http_status, request_id),
        attempts=attempt,
        generation=generation,
        idempotency_key=idempotency_key(uid, custom_id, generation),
        queued_ms=queued_ms,
        created_ms=created_ms,
        ended_ms=ended_ms if at_rest else 0,
        usage=_usage(prompt, completion, total, cached, reasoning),
        doubles=doubles,
        possible_double=bool(possible_double),
    )


def doubles_of(connection: Connection, runs: dict[int, str | None]) -> dict[int, tuple[str, ...]]:
    """Return further runs with a job's tag, by job id; `runs` names each job's own."""
    told: dict[int, list[str]] = defaultdict(list)
    ids = list(runs)
    for job_id, why, run_id in connection.execute(_TOLD, {"ids": ids}):
        # A noted answer of a job without a run may name the one that it will adopt.
        if why == "noted" and runs[job_id] is None:
            continue
        if run_id != runs[job_id] and run_id not in told[job_id]:
            told[job_id].append(run_id)
    if any(told.values()):
        for job_id, run_id in connection.execute(_RUNS, {"ids": list(told)}):
            if run_id in told[job_id]:
                told[job_id].remove(run_id)
    return {job_id: tuple(run_ids) for job_id, run_ids in told.items() if run_ids}


def error_of(text_: str | None) -> ApiError | None:
    """Read an error's column: a JSON object of the parts that there are."""
    if not text_:
        return None
    parts: dict[str, str] = json.loads(text_)
    return ApiError(**parts)


def usage_of(row: Row[object]) -> Usage | None:
    """Return the tokens of an outcome's row, None where the API told none."""
    return _usage(
        row.prompt_tokens,
        row.completion_tokens,
        row.total_tokens,
        row.cached_tokens,
        row.reasoning_tokens,
    )


def _usage(
    prompt: int | None,
    completion: int | None,
    total: int | None,
    cached: int | None,
    reasoning: int | None,
) -> Usage | None:
    if total is None:
        return None
    return Usage(prompt or 0, completion or 0, total, cached or 0, reasoning or 0)


def _cause(text_: str | None, http_status: int | None, request_id: str | None) -> Cause | None:
    error = error_of(text_)
    if error is None:
        return None
    return Cause(
        error.type or None,
        error.code or None,
        error.message or None,
        http_status or None,
        request_id or None,
    )
