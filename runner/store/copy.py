"""A batch from one database into another, of either engine: `db copy`.

Jobs keep their keys (the batch's uid is copied), their order and their evidence; their numbers are
the target's own. It goes on where it was stopped, and in the end reads both sides and compares.
The copied batch must look before it sends: whoever worked on the source since then made runs that
the copy does not know (protocol.md section 7, 5).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TypeAlias

from msgspec import Struct
from sqlalchemy import Connection, Select, Table, bindparam, func, insert, select, text

from runner.core.errors import UsageError
from runner.store import batches, turns
from runner.store.storable import storable
from runner.store.store import Store
from runner.store.tables import (
    ATTEMPT,
    BATCH,
    BODY,
    CAUSE,
    JOB,
    LANE,
    ORIGIN,
    OUTCOME,
    OUTPUT,
    SOURCE,
    SPENT,
    TALLY,
)

CHUNK_BYTES = 8 * 1024 * 1024
MOST = 1000
FIRST_CHUNK = 100

Value: TypeAlias = int | float | str | bytes | None
Line: TypeAlias = dict[str, Value]

_SIDES: tuple[tuple[Table, tuple[str, ...]], ...] = (
    (BODY, ("job_id",)),
    (OUTCOME, ("job_id", "generation")),
    (ATTEMPT, ("job_id", "id")),
    (OUTPUT, ("job_id", "generation", "call_id")),
)
"""The tables beside a job, and the order in which their rows are read."""

_UNLIKE = frozenset(
    {
        "id", "job_id", "batch_id", "source_id", "origin", "worker", "token", "blocked", "doubted",
        "presumed", "clock_not_before_ms", "clock_closed_ms",
    }
)  # fmt: skip
"""Columns that a copy may say otherwise: numbers of its own, clocks of its own, nobody's hold."""

_MARK = text("SELECT value FROM meta WHERE name = :name")
_SET_MARK = text(
    """
    INSERT INTO meta (name, value) VALUES (:name, :value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
    """
)
_CLEAR_MARK = text("DELETE FROM meta WHERE name = :name")
_NUMBERS = select(JOB.c.custom_id, JOB.c.id).where(
    JOB.c.batch_id == bindparam("batch_id"),
    JOB.c.custom_id.in_(bindparam("names", expanding=True)),
)
_JOBS_AFTER = (
    # What follows from other columns the target works out by itself.
    select(*(column for column in JOB.c if column.computed is None))
    .where(JOB.c.batch_id == bindparam("batch_id"), JOB.c.id > bindparam("after"))
    .order_by(JOB.c.id)
    .limit(bindparam("most"))
)


class Copied(Struct, frozen=True):
    """What was copied: batches and jobs in all, and how many of these jobs were there before."""

    batches: int = 0
    jobs: int = 0
    known: int = 0


class _Chunk(Struct, frozen=True):
    """Jobs as they stand in the source, and what stands beside them."""

    jobs: Sequence[Line]
    sides: Mapping[str, Sequence[Line]]

    @property
    def weight(self) -> int:
        return sum(
            len(value)
            for rows in self.sides.values()
            for row in rows
            for value in row.values()
            if isinstance(value, str | bytes)
        )


def copy_database(
    source: Store,
    target: Store,
    batch: str | None,
    on_progress: Callable[[int, int], None],
) -> Copied:
    """Copy a batch, or all of them; given again it goes on where it was.

    `on_progress` is told the jobs copied and how many there are. `UsageError` where a side is at
    work, where the target has another batch of that name, or where the two differ in the end.
    """
    names = source.reading(lambda connection: _names(connection, batch))
    for side in (source, target):
        _refuse_work(side)
    total = sum(source.reading(_counting(name)) for name in names)
    done, known = 0, 0
    for name in names:
        began = _begin(source, target, name)
        known += began.known
        done += began.known
        on_progress(done, total)
        for copied in _copy_jobs(source, target, began):
            done += copied
            on_progress(done, total)
        _finish(source, target, began)
    return Copied(len(names), done, known)


class _Begun(Struct, frozen=True):
    """A batch on both sides; `sources`: the target's numbers by the source's; how far it is."""

    name: str
    source_id: int
    target_id: int
    origin: int
    sources: Mapping[int, int]
    after: int
    known: int
    finished: bool
    mark: str


def _names(connection: Connection, batch: str | None) -> list[str]:
    if batch is None:
        return [one.name for one in batches.every(connection)]
    if batches.named(connection, batch) is None:
        known = ", ".join(one.name for one in batches.every(connection)) or "none"
        raise UsageError("there is no such batch", where=batch, remedy=f"name one of: {known}")
    return [batch]


def _counting(name: str) -> Callable[[Connection], int]:
    statement = (
        select(func.count())
        .select_from(JOB.join(BATCH, BATCH.c.id == JOB.c.batch_id))
        .where(BATCH.c.name == name)
    )
    return lambda connection: connection.execute(statement).scalar_one()


def _refuse_work(store: Store) -> None:
    """Raise `UsageError` where a worker lives: a copy that it changes is the state of no moment."""
    for worker in store.living():
        raise UsageError(
            f"worker pid {worker.pid} on {worker.host} is at work",
            where=store.label,
            remedy="stop it, then copy",
        )


def _begin(source: Store, target: Store, name: str) -> _Begun:
    """Make the batch in the target, or find what an earlier copy has made of it."""
    (row,) = source.reading(_reading(select(BATCH).where(BATCH.c.name == name)))
    (origin,) = source.reading(_reading(select(ORIGIN).where(ORIGIN.c.id == row["origin"])))
    batch_id = _number(row["id"])
    of_batch = {
        table.name: source.reading(_reading(select(table).where(table.c.batch_id == batch_id)))
        for table in (SOURCE, LANE)
    }
    mark = f"copy {row['uid']!s}"

    def verb(connection: Connection) -> _Begun:
        found = _reading(select(BATCH).where(BATCH.c.name == name))(connection)
        if not found:
            _make_batch(connection, row, origin, of_batch)
            connection.execute(_SET_MARK, {"name": mark, "value": "0"})
            found = _reading(select(BATCH).where(BATCH.c.name == name))(connection)
        if found[0]["uid"] != row["uid"]:
            raise UsageError(
                f"has another batch named {name}",
                where=target.label,
                remedy="copy into another database",
            )
        there = _number(found[0]["id"])
        at = connection.scalar(_MARK, {"name": mark})
        paths = {
            one["path"]: _number(one["id"])
            for one in _reading(select(SOURCE).where(SOURCE.c.batch_id == there))(connection)
        }
        return _Begun(
            name=name,
            source_id=batch_id,
            target_id=there,
            origin=_number(found[0]["origin"]),
            sources={_number(one["id"]): paths[one["path"]] for one in of_batch["source"]},
            after=int(at or 0),
            known=int(_counting(name)(connection)),
            # Without a mark the copy is whole, or it is no copy at all: then the end tells.
            finished=at is None,
            mark=mark,
        )

    return target.writing(verb)


def _make_batch(
    connection: Connection, row: Line, origin: Line, of_batch: Mapping[str, Sequence[Line]]
) -> None:
    known = select(ORIGIN).where(ORIGIN.c.base_url == origin["base_url"])
    if not _reading(known)(connection):
        connection.execute(insert(ORIGIN), [_without(origin, "id")])
    there = _number(_reading(known)(connection)[0]["id"])
    copied = _without(row, "id") | {"origin": there, "look_first": True, "queued_whole": False}
    connection.execute(insert(BATCH), [copied])
    made = select(BATCH).where(BATCH.c.name == row["name"])
    batch_id = _number(_reading(made)(connection)[0]["id"])
    for table in (SOURCE, LANE):
        lines = [_without(one, "id") | {"batch_id": batch_id} for one in of_batch[table.name]]
        for line in lines:
            # A lane of an earlier Runner may be named as only SQLite can hold it.
            line |= {name: storable(text) for name, text in line.items() if isinstance(text, str)}
        if lines:
            connection.execute(insert(table), lines)


def _copy_jobs(source: Store, target: Store, begun: _Begun) -> Iterator[int]:
    after, most = begun.after, FIRST_CHUNK
    while not begun.finished:
        chunk = source.reading(_chunk(begun.source_id, after, most))
        if not chunk.jobs:
            return
        after = _number(chunk.jobs[-1]["id"])
        target.writing(_putting(chunk, begun, after, target.now_ms()))
        yield len(chunk.jobs)
        most = min(MOST, max(10, most * CHUNK_BYTES // max(chunk.weight, 1)))


def _chunk(batch_id: int, after: int, most: int) -> Callable[[Connection], _Chunk]:
    def verb(connection: Connection) -> _Chunk:
        binds = {"batch_id": batch_id, "after": after, "most": most}
        jobs = _lines(connection, _JOBS_AFTER, binds)
        ids = [_number(job["id"]) for job in jobs]
        sides = {table.name: _beside(connection, table, order, ids) for table, order in _SIDES}
        return _Chunk(jobs, sides)

    return verb


def _beside(
    connection: Connection, table: Table, order: Sequence[str], ids: Sequence[int]
) -> list[Line]:
    if not ids:
        return []
    statement = (
        select(table)
        .where(table.c.job_id.in_(bindparam("ids", expanding=True)))
        .order_by(*(table.c[name] for name in order))
    )
    return _lines(connection, statement, {"ids": list(ids)})


def _putting(chunk: _Chunk, begun: _Begun, after: int, now_ms: int) -> Callable[[Connection], None]:
    def verb(connection: Connection) -> None:
        if int(connection.scalar(_MARK, {"name": begun.mark}) or 0) >= after:
            # Run again after a crash of the server: this chunk was committed.
            return
        shared = {
            str(job["thread_id"])
            for job in chunk.jobs
            if job["state"] == 0 and job["thread_id"] is not None and not job["own_thread"]
        }
        turns.enter(connection, begun.origin)
        busy = turns.busy(connection, begun.origin, shared)
        jobs = [_job(job, begun, busy, now_ms) for job in chunk.jobs]
        connection.execute(insert(JOB), jobs)
        names = [str(job["custom_id"]) for job in jobs]
        binds = {"batch_id": begun.target_id, "names": names}
        there = {row.custom_id: row.id for row in connection.execute(_NUMBERS, binds)}
        numbers = {job["id"]: there[job["custom_id"]] for job in chunk.jobs}
        for table, _ in _SIDES:
            lines = [
                _without(line, "id") | {"job_id": numbers[line["job_id"]]}
                for line in chunk.sides[table.name]
            ]
            if lines:
                connection.execute(insert(table), lines)
        connection.execute(_SET_MARK, {"name": begun.mark, "value": str(after)})

    return verb


def _job(job: Line, begun: _Begun, busy: set[str], now_ms: int) -> Line:
    """Return a job as the target has it: held by nobody, and by the target's clock."""
    copied = _without(job, "id") | {
        "batch_id": begun.target_id,
        "origin": begun.origin,
        "source_id": begun.sources.get(_number(job["source_id"]), 0),
        "worker": None,
        "token": _number(job["token"]) + 1,
        # A time by the source's clock says nothing here: what was put off is due, and waits that
        # had begun begin anew.
        "clock_not_before_ms": 1 if job["clock_not_before_ms"] else 0,
        "clock_closed_ms": now_ms if job["clock_closed_ms"] else 0,
    }
    if job["state"] == 1 and not job["clock_closed_ms"]:
        # Open, and its sender is gone or will never be heard of here.
        copied |= {"clock_closed_ms": now_ms, "doubted": 1, "presumed": 1}
    if job["state"] == 0 and not job["own_thread"] and job["thread_id"] in busy:
        # The target has an open job of its own on this thread.
        copied["blocked"] = 1
    return copied


def _finish(source: Store, target: Store, begun: _Begun) -> None:
    """Copy the kept counts, compare both sides, and call the copy whole."""
    if not begun.finished:
        kept = {
            table.name: source.reading(
                _reading(select(table).where(table.c.batch_id == begun.source_id))
            )
            for table in (TALLY, CAUSE, SPENT)
        }
        whole = source.reading(_reading(select(BATCH).where(BATCH.c.id == begun.source_id)))
        target.writing(_keeping(kept, begun, queued_whole=bool(whole[0]["queued_whole"])))
    if _print(source, begun.source_id) != _print(target, begun.target_id):
        raise UsageError(
            f"batch {begun.name} differs from {source.label} after copying",
            where=target.label,
            remedy="copy into an empty database while nobody works on either",
        )
    target.writing(lambda connection: _clear(connection, begun.mark))


def _keeping(
    kept: Mapping[str, Sequence[Line]], begun: _Begun, *, queued_whole: bool
) -> Callable[[Connection], None]:
    def verb(connection: Connection) -> None:
        for table in (TALLY, CAUSE, SPENT):
            connection.execute(table.delete().where(table.c.batch_id == begun.target_id))
            lines = [line | {"batch_id": begun.target_id} for line in kept[table.name]]
            if lines:
                connection.execute(insert(table), lines)
        batches.change(connection, begun.target_id, {"queued_whole": queued_whole})

    return verb


def _clear(connection: Connection, mark: str) -> None:
    connection.execute(_CLEAR_MARK, {"name": mark})


def _print(store: Store, batch_id: int) -> tuple[int, str]:
    """Return how many jobs a batch has, and a hash over all that a copy must say alike."""
    digest = blake2b(digest_size=16)
    jobs, after, most = 0, 0, FIRST_CHUNK
    while True:
        chunk = store.reading(_chunk(batch_id, after, most))
        if not chunk.jobs:
            return jobs, digest.hexdigest()
        jobs += len(chunk.jobs)
        after = _number(chunk.jobs[-1]["id"])
        # By job, so that both sides may be read in chunks of any size.
        beside: dict[Value, list[Line]] = {}
        for table, _ in _SIDES:
            for line in chunk.sides[table.name]:
                beside.setdefault(line["job_id"], []).append(line)
        for job in chunk.jobs:
            for line in (job, *beside.get(job["id"], ())):
                told = [
                    (name, value) for name, value in sorted(line.items()) if name not in _UNLIKE
                ]
                digest.update(repr(told).encode())
        most = min(MOST, max(10, most * CHUNK_BYTES // max(chunk.weight, 1)))


def _reading(statement: Select[*tuple[object, ...]]) -> Callable[[Connection], list[Line]]:
    return lambda connection: _lines(connection, statement, {})


def _lines(
    connection: Connection,
    statement: Select[*tuple[object, ...]],
    binds: Mapping[str, int | list[int]],
) -> list[Line]:
    return [dict(row) for row in connection.execute(statement, binds).mappings()]


def _without(line: Line, name: str) -> Line:
    return {key: value for key, value in line.items() if key != name}


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value
