"""What the store's tests write and read: lines, moves that are waited for, rows as they stand."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import text

from runner.core.batch import Batch, Queued
from runner.core.model import Job, JobSpec
from runner.core.moves import Move
from runner.store.claim import Want
from runner.store.store import Store

Value = int | str | bytes | None


def begin(store: Store, name: str = "nightly") -> Batch:
    return store.begin(
        name,
        dialect="openai",
        base_url="http://127.0.0.1:9/v1",
        options={},
        weight=1,
        tag="runner_key",
        made_ms=1,
    )


def line(
    number: int,
    custom_id: str | None = "",
    *,
    thread: str | None = None,
    content: str | None = None,
    lane: str = "",
) -> JobSpec:
    """A good line; custom_id "" is made from its number, its content too."""
    text_ = content if content is not None else f"line {number}"
    return JobSpec(
        line=number,
        custom_id=f"q-{number:04d}" if custom_id == "" else custom_id,
        thread_id=thread,
        body=b'{"instructions": "%s"}' % text_.encode(),
        extra=b"",
        digest=hashlib.blake2b(f"{text_}|{thread}".encode(), digest_size=16).digest(),
        lane=lane,
    )


def queue(
    store: Store,
    batch: Batch,
    specs: Sequence[JobSpec],
    *,
    path: str = "m.jsonl",
    replace: bool = False,
    identity: str | None = None,
) -> Queued:
    queueing = store.queueing(batch, path, replace=replace)
    for start in range(0, len(specs), 1000):
        queueing.add(specs[start : start + 1000], 5)
    return queueing.finish(identity, len(specs), 0)


def write(store: Store, *moves: Move) -> list[bool]:
    """Record moves back to back and return which of them won, in their order."""
    ends: dict[int, bool] = {}
    ready = threading.Event()

    def done(place: int, won: bool) -> None:
        ends[place] = won
        if len(ends) == len(moves):
            ready.set()

    for place, move in enumerate(moves):
        store.record(move, partial(done, place))
    assert not moves or ready.wait(30), store.trouble
    return [ends[place] for place in range(len(moves))]


def rows(store: Store, sql: str, **binds: Value) -> list[tuple[Value, ...]]:
    return store._write(lambda c: [tuple(row) for row in c.execute(text(sql), binds)])


def count(store: Store, sql: str, **binds: Value) -> int:
    value = rows(store, sql, **binds)[0][0]
    assert isinstance(value, int)
    return value


def tallied(store: Store) -> dict[tuple[Value, ...], Value]:
    found = rows(store, "SELECT batch_id, state, status, jobs FROM tally WHERE jobs <> 0")
    return {row[:3]: row[3] for row in found}


def counted(store: Store) -> dict[tuple[Value, ...], Value]:
    """What the tally must say: the rows themselves, counted."""
    sql = "SELECT batch_id, state, COALESCE(status, ''), COUNT(*) FROM job GROUP BY 1, 2, 3"
    return {row[:3]: row[3] for row in rows(store, sql)}


@dataclass(frozen=True)
class Working:
    """A store with a worker and jobs that it holds."""

    store: Store
    batch: Batch
    me: str
    jobs: list[Job]


def working(store: Store, specs: Sequence[JobSpec]) -> Working:
    batch = begin(store)
    queue(store, batch, specs)
    me = store.enlist(batches="nightly", version="test").id
    jobs = store.claim(me, [Want(batch.id, None, len(specs))])
    return Working(store, batch, me, jobs)
