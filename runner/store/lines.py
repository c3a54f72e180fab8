"""A chunk of manifest lines becomes jobs, in one transaction of the caller's.

Two ways: all lines are new (most chunks of a large queue), or each is looked up first.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from msgspec import Struct
from sqlalchemy import Connection, bindparam, text

from runner.core.batch import Added, Batch, Conflict
from runner.core.model import JobSpec, JobState
from runner.core.states import Event, step
from runner.store import turns
from runner.store.bulk import Bulk, Row
from runner.store.columns import NUMBER, STATES
from runner.store.storable import storable
from runner.store.tally import Deltas, change, moved

LANES = 64

_INSERT_JOBS = Bulk(
    "job",
    (
        "id", "batch_id", "custom_id", "source_id", "line", "digest", "origin", "thread_id", "lane",
        "blocked", "queued_ms",
    ),
    {
        "generation": 1,
        **dict.fromkeys(
            (
                "own_thread", "state", "token", "attempt", "refusals", "doubted", "presumed",
                "slow_close", "cancel_asked", "clock_not_before_ms", "clock_closed_ms", "intent_ms",
                "first_intent_ms", "created_ms", "ended_ms", "possible_double",
            ),
            0,
        ),
    },
    "ON CONFLICT (batch_id, custom_id) DO NOTHING",
)  # fmt: skip
_INSERT_BODIES = Bulk("body", ("job_id", "body", "extra"))
# Ids are given out here, so that bodies need not ask for them. SQLite has one writer; jobs are
# never deleted, so no id comes twice.
_LAST_ID = text("SELECT COALESCE(MAX(id), 0) FROM job")
# The sequence is looked up once, not for each line.
_NEXT_IDS = text(
    """
    SELECT nextval(ids.sequence) FROM generate_series(1, :count),
        (SELECT CAST(pg_get_serial_sequence('job', 'id') AS regclass) AS sequence OFFSET 0) AS ids
    """
)
KNOWN = text(
    """
    SELECT id, custom_id, digest, source_id, line, state, status, generation, attempt,
        thread_id, own_thread
    FROM job WHERE batch_id = :batch_id AND custom_id IN :names
    """
).bindparams(bindparam("names", expanding=True))
_MOVED = text("UPDATE job SET line = :line WHERE id = :id")
_REPLACED = text(
    """
    UPDATE job SET digest = :digest, source_id = :source_id, line = :line, lane = :lane,
        thread_id = :thread_id, own_thread = 0, blocked = :blocked, state = 0, status = NULL,
        generation = :generation, attempt = 0, refusals = 0, doubted = 0, presumed = 0,
        slow_close = 0, cancel_asked = 0, clock_not_before_ms = 0, clock_closed_ms = 0,
        first_intent_ms = 0, created_ms = 0, ended_ms = 0, run_id = NULL, blocked_by = NULL,
        worker = NULL, token = token + 1, queued_ms = :queued_ms
    WHERE id = :id
    """
)
_NEW_BODY = text("UPDATE body SET body = :body, extra = :extra WHERE job_id = :id")
_LANES = text("SELECT name, number FROM lane WHERE batch_id = :batch_id")
_NEW_LANE = text(
    """
    INSERT INTO lane (batch_id, number, name) VALUES (:batch_id, :number, :name)
    ON CONFLICT (batch_id, number) DO NOTHING
    """
)
_SOURCES = text("SELECT id, path FROM source WHERE batch_id = :batch_id")


class Line(NamedTuple):
    """A line with the name that it has in this pass."""

    spec: JobSpec
    name: str


class Chunk(Struct, frozen=True):
    """What a chunk came to, and which jobs its lines are."""

    added: Added
    seen: tuple[int, ...]


class Source(Struct, frozen=True):
    """Which manifest of which batch lines come from, and when (unix milliseconds)."""

    batch: Batch
    id: int
    now_ms: int


class _Row(Struct, frozen=True):
    """A job that a line's name finds."""

    id: int
    digest: bytes
    source_id: int
    line: int
    state: JobState
    status: str
    generation: int
    attempt: int
    thread_id: str | None


def lanes_of(connection: Connection, batch: Batch, names: Sequence[str]) -> dict[str, int]:
    """Return a number for each lane's name; past 64 they share by their hash.

    Numbers are kept for good: a claim asks by them.
    """
    turns.enter(connection, batch.origin)
    rows = connection.execute(_LANES, {"batch_id": batch.id})
    kept: dict[str, int] = {row.name: row.number for row in rows}
    known: dict[str, int] = {}
    for name in dict.fromkeys(names):
        stored = storable(name)
        if stored in kept:
            known[name] = kept[stored]
            continue
        number = len(kept)
        if number >= LANES:
            known[name] = crc32(stored.encode()) % LANES
            continue
        binds = {"batch_id": batch.id, "number": number, "name": stored}
        connection.execute(_NEW_LANE, binds)
        known[name] = kept[stored] = number
    return kept | known


def add_new(
    connection: Connection, source: Source, lines: Sequence[Line], lanes: Mapping[str, int]
) -> Chunk | None:
    """Queue lines that nobody knows yet; None where one is known: roll back, and look them up."""
    turns.enter(connection, source.batch.origin)
    ids = _insert(connection, source, lines, lanes)
    if ids is None:
        return None
    change(connection, {(source.batch.id, NUMBER[JobState.QUEUED], ""): len(lines)})
    return Chunk(Added(new=len(lines)), ids)


def _insert(
    connection: Connection, source: Source, lines: Sequence[Line], lanes: Mapping[str, int]
) -> tuple[int, ...] | None:
    batch = source.batch
    threads = {line.spec.thread_id for line in lines if line.spec.thread_id is not None}
    busy = turns.busy(connection, batch.origin, threads)
    ids = _ids(connection, len(lines))
    rows: list[Row] = []
    for number, line in zip(ids, lines, strict=True):
        spec = line.spec
        thread = spec.thread_id
        blocked = 0
        if thread is not None:
            blocked = int(thread in busy)
            busy.add(thread)
        rows.append(
            (
                number,
                batch.id,
                line.name,
                source.id,
                spec.line,
                spec.digest,
                batch.origin,
                thread,
                lanes[spec.lane],
                blocked,
                source.now_ms,
            )
        )
    if _INSERT_JOBS.run(connection, rows) != len(rows):
        return None
    bodies: list[Row] = [
        (number, line.spec.body, line.spec.extra) for number, line in zip(ids, lines, strict=True)
    ]
    _INSERT_BODIES.run(connection, bodies)
    return tuple(ids)


def _ids(connection: Connection, count: int) -> Sequence[int]:
    if connection.dialect.name == "postgresql":
        return list(connection.scalars(_NEXT_IDS, {"count": count}))
    last = int(connection.scalar(_LAST_ID) or 0)
    return range(last + 1, last + 1 + count)


def add_looking(
    connection: Connection,
    source: Source,
    lines: Sequence[Line],
    lanes: Mapping[str, int],
    may_replace: Callable[[int], bool],
    elsewhere: Callable[[str], bool],
) -> Chunk:
    """Queue the lines that are new, and find out what the others are.

    A new line is left out where `elsewhere` says so of its name. The same name and content: known.
    Other content: a conflict and nothing changed, or the job's next generation where `may_replace`
    says so of its id and the job can be.
    """
    turns.enter(connection, source.batch.origin)
    known = _known(connection, source.batch.id, [line.name for line in lines])
    sorted_out = _Sorted()
    for line in lines:
        row = known.get(line.name)
        if row is None and elsewhere(line.name):
            sorted_out.elsewhere += 1
        else:
            _sort(line, row, source, sorted_out, may_replace)
    deltas: Deltas = Counter()
    if sorted_out.moved:
        connection.execute(_MOVED, sorted_out.moved)
    _replace(connection, source, sorted_out.changed, lanes, deltas)
    new = list(sorted_out.new.values())
    ids = _insert(connection, source, new, lanes) if new else ()
    if ids is None:
        # SQLite has one writer, PostgreSQL one at a time under an origin (turns.enter).
        raise AssertionError(f"a line of batch {source.batch.name} was queued beside us")
    deltas[source.batch.id, NUMBER[JobState.QUEUED], ""] += len(new)
    change(connection, deltas)
    added = Added(
        new=len(new),
        known=sorted_out.same,
        replaced=len(sorted_out.changed),
        conflicts=_conflicts(connection, source, sorted_out.conflicts),
        elsewhere=sorted_out.elsewhere,
    )
    return Chunk(added, (*sorted_out.seen, *ids))


class _Sorted:
    """Lines by what is to be done with them."""

    def __init__(self) -> None:
        self.new: dict[str, Line] = {}
        self.same = 0
        self.elsewhere = 0
        self.moved: list[dict[str, int]] = []
        self.changed: list[tuple[_Row, Line]] = []
        self.conflicts: list[tuple[Line, int, int]] = []
        self.seen: set[int] = set()


def _sort(
    line: Line,
    row: _Row | None,
    source: Source,
    out: _Sorted,
    may_replace: Callable[[int], bool],
) -> None:
    spec = line.spec
    if row is None:
        earlier = out.new.setdefault(line.name, line)
        if earlier is line:
            return
        if earlier.spec.digest == spec.digest:
            out.same += 1
        else:
            out.conflicts.append((line, source.id, earlier.spec.line))
        return
    again = row.id in out.seen
    if row.digest == spec.digest and not any(one is row for one, _ in out.changed):
        out.same += 1
        if row.source_id == source.id and row.line != spec.line and not again:
            out.moved.append({"id": row.id, "line": spec.line})
    elif not again and _replaceable(row) and may_replace(row.id):
        out.changed.append((row, line))
    else:
        out.conflicts.append((line, row.source_id, row.line))
    out.seen.add(row.id)


def _replaceable(row: _Row) -> bool:
    """Whether nothing was ever sent for the job's generation, or it is at rest."""
    return row.state.at_rest or (row.state is JobState.QUEUED and row.attempt == 0)


def _known(connection: Connection, batch_id: int, names: Sequence[str]) -> dict[str, _Row]:
    binds = {"batch_id": batch_id, "names": list(dict.fromkeys(names))}
    rows: dict[str, _Row] = {}
    for row in connection.execute(KNOWN, binds):
        number, name, digest, source_id, line, state, status, generation, attempt, thread, own = row
        rows[name] = _Row(
            id=number,
            digest=bytes(digest),
            source_id=source_id,
            line=line,
            state=STATES[state],
            status=status or "",
            generation=generation,
            attempt=attempt,
            thread_id=None if own else thread,
        )
    return rows


def _replace(
    connection: Connection,
    source: Source,
    changed: Sequence[tuple[_Row, Line]],
    lanes: Mapping[str, int],
    deltas: Deltas,
) -> None:
    """Give jobs another content: the next generation of those at rest, their outcome kept."""
    if not changed:
        return
    threads: set[str] = set()
    for row, line in changed:
        spec = line.spec
        threads.update(name for name in (row.thread_id, spec.thread_id) if name is not None)
        generation = row.generation
        if row.state.at_rest:
            generation += 1
            after = step(row.state, Event.RETRY)
            moved(deltas, source.batch.id, (row.state, row.status), (after, ""))
        connection.execute(
            _REPLACED,
            {
                "id": row.id,
                "digest": spec.digest,
                "source_id": source.id,
                "line": spec.line,
                "lane": lanes[spec.lane],
                "thread_id": spec.thread_id,
                "blocked": int(spec.thread_id is not None),
                "generation": generation,
                "queued_ms": source.now_ms,
            },
        )
        connection.execute(_NEW_BODY, {"id": row.id, "body": spec.body, "extra": spec.extra})
    turns.grant(connection, source.batch.origin, threads)


def _conflicts(
    connection: Connection, source: Source, found: Sequence[tuple[Line, int, int]]
) -> tuple[Conflict, ...]:
    if not found:
        return ()
    rows = connection.execute(_SOURCES, {"batch_id": source.batch.id})
    paths: dict[int, str] = {row.id: row.path for row in rows}
    return tuple(
        Conflict(line.name, line.spec.line, paths.get(other, ""), other_line)
        for line, other, other_line in found
    )
