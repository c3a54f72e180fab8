"""Databases with jobs in them, made by the store itself: queued ones, and ones at rest."""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from benchmarks.manifests import line
from runner.core.batch import Batch
from runner.core.model import Job, JobSpec, JobState
from runner.core.moves import Created, Evidence, Held, Intend, Move, Settle, held
from runner.store.claim import Want
from runner.store.store import Store

RUN = b'{"id":"run_%d","object":"thread.run","status":"completed","padding":"%s"}'
PADDING = b"x" * 840
"""Makes a run object as long as the API's."""


def _specs(jobs: int) -> Iterator[JobSpec]:
    for number in range(jobs):
        told = line(number)
        body = json.dumps({k: v for k, v in told.items() if not k.endswith("_id")}).encode()
        digest = hashlib.blake2b(body, digest_size=16).digest()
        name, thread = str(told["custom_id"]), str(told["thread_id"])
        yield JobSpec(number + 1, name, thread, body, b"", digest, "asst_1")


def queued(place: str | Path, jobs: int) -> tuple[Store, Batch]:
    """Return an open store whose only batch has so many queued jobs."""
    store = Store.open(str(place))
    batch = store.begin(
        "many",
        dialect="openai",
        base_url="http://127.0.0.1:9/v1",
        options={},
        weight=1,
        tag="runner_key",
        made_ms=1,
    )
    queueing = store.queueing(batch, "many.jsonl", replace=False)
    specs = _specs(jobs)
    while chunk := list(islice(specs, 5_000)):
        queueing.add(chunk, 1)
    queueing.finish("many", jobs, 0)
    return store, batch


def record(store: Store, moves: Sequence[Move]) -> None:
    """Record moves and wait until all are durable; RuntimeError where one is refused."""
    left, refused, ready = len(moves), 0, threading.Event()

    def done(won: bool) -> None:  # noqa: FBT001 - the store's own call
        nonlocal left, refused
        left -= 1
        refused += not won
        if not left:
            ready.set()

    for move in moves:
        store.record(move, done)
    if not ready.wait(60) or refused:
        raise RuntimeError(f"{refused} moves were refused: {store.trouble}")


def started(store: Store, jobs: Sequence[Job]) -> list[Held]:
    """Take claimed jobs to running, and return what a settle compares."""
    record(store, [Intend(held(job)) for job in jobs])
    sent = [replace(held(job), attempt=job.attempt + 1, state=JobState.SUBMITTING) for job in jobs]
    record(store, [Created(at, f"run_{at.job_id}", Evidence("created", 200)) for at in sent])
    return [replace(at, state=JobState.RUNNING) for at in sent]


def settles(running: Sequence[Held]) -> list[Move]:
    """Return the moves that bring these jobs to rest with a run object each."""
    return [
        Settle(
            at,
            JobState.SUCCEEDED,
            "completed",
            run_id=f"run_{at.job_id}",
            run=RUN % (at.job_id, PADDING),
            http_status=200,
        )
        for at in running
    ]


def at_rest(path: Path, jobs: int) -> None:
    """Make a database whose jobs have all succeeded."""
    store, batch = queued(path, jobs)
    me = store.enlist(batches="many", version="benchmark").id
    while claimed := store.claim(me, [Want(batch.id, None, 1_000)]):
        record(store, settles(started(store, claimed)))
    store.retire(me)
    store.close()
