"""Jobs and claims a second at a million jobs queued, beside two queues made for PostgreSQL.

`python -m benchmarks.peers WAY jobs|claims URL COUNT` prints {"rate", "cpu_us"} of the loop alone.
"""

import argparse
import asyncio
import importlib
import importlib.util
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from msgspec.structs import replace

from benchmarks.filled import queued, settles
from benchmarks.measure import TIMES, Options, Table, interleaved, ratio, shown, spend
from benchmarks.private_server import PrivateServer, private_server
from runner.core.batch import Batch
from runner.core.model import Job, JobState
from runner.core.moves import Created, Evidence, Intend, held
from runner.store.claim import Want
from runner.store.store import Store
from runner.work.durable import Durable

PEERS = ("procrastinate", "pgqueuer")
WAYS = (*PEERS, "Runner")
TRANSITIONS = {"procrastinate": 2, "pgqueuer": 2, "Runner": 4}
"""A job's states in the database, each on the disk before the next."""
AT_ONCE = 100
"""As many jobs of a process are under way at once, for everybody."""
AHEAD = 200
"""As many jobs Runner's pool claims at once (`PREFETCH`)."""
TITLE = "Jobs and claims on PostgreSQL"


@dataclass(frozen=True, slots=True)
class Rate:
    """How many a second, and microseconds of this process's CPU for each."""

    rate: float
    cpu_us: float


def run(options: Options) -> Table:
    """Carry jobs that do nothing, and only claim some, in turns; one process each."""
    missing = [name for name in (*PEERS, "psycopg") if importlib.util.find_spec(name) is None]
    if missing:
        return Table(TITLE, ("not measured",), [(f"pip install {' '.join(missing)}",)])
    with private_server() as server:
        if server is None:
            return Table(TITLE, ("not measured",), [("there is no initdb on this machine",)])
        return _measured(options, server)


def _measured(options: Options, server: PrivateServer) -> Table:
    rows = options.size(1_000_000, 1_000)
    counts = {"jobs": options.size(20_000, 200), "claims": options.size(20_000, 200)}
    urls = {name: server.fresh() for name in WAYS}
    for name, url in urls.items():
        print(f"  filling {name} with {rows:,} jobs", file=sys.stderr, flush=True)
        FILLS[name](url, rows)

    def take(way: str, what: str) -> Rate:
        _tidy(way, urls[way])
        words = [sys.executable, "-m", "benchmarks.peers", way, what, urls[way], counts[what]]
        spend(words, options.folder)
        return Rate(**json.loads((options.folder / "child.out").read_text("utf-8")))

    ways = {f"{way} {what}": partial(take, way, what) for what in counts for way in WAYS}
    taken = interleaved(ways, options.runs)
    table = Table(
        TITLE,
        (
            "way",
            "jobs/s",
            f"{TIMES} the faster",
            "transitions/s",
            f"{TIMES} the faster",
            "CPU µs/job",
            "claims/s",
            f"{TIMES} the faster",
        ),
        note=(
            f"One process each, {AT_ONCE} jobs under way at once, {rows:,} jobs in the table,"
            " every commit on the disk. *The faster* is the faster of the two in each round."
            " A job of theirs has two transitions (taken, done), one of Runner's four (claimed,"
            " intended, created, ended)."
        ),
    )
    jobs = {way: [one.rate for one in taken[f"{way} jobs"]] for way in WAYS}
    steps = {way: [rate * TRANSITIONS[way] for rate in rates] for way, rates in jobs.items()}
    claims = {way: [one.rate for one in taken[f"{way} claims"]] for way in WAYS}
    for way in WAYS:
        cpu = shown([one.cpu_us for one in taken[f"{way} jobs"]])
        table.rows.append(
            (way, *_beside(jobs, way), *_beside(steps, way), cpu, *_beside(claims, way))
        )
    return table


def _beside(rates: dict[str, list[float]], way: str) -> tuple[str, str]:
    """Return a way's rates, and how they stand to those of the faster peer in each round."""
    faster = [max(turn) for turn in zip(*(rates[peer] for peer in PEERS), strict=True)]
    return shown(rates[way]), ratio(rates[way], faster)


# What is in it


def _execute(url: str, *statements: str) -> None:
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def _fill_runner(url: str, rows: int) -> None:
    store, _ = queued(url, rows)
    store.close()


def _fill_procrastinate(url: str, rows: int) -> None:
    from procrastinate import App, PsycopgConnector  # noqa: PLC0415 - an extra

    async def make() -> None:
        async with App(connector=PsycopgConnector(conninfo=url)).open_async() as app:
            await app.schema_manager.apply_schema_async()

    asyncio.run(make())
    # Without its triggers, which write a line of history for each: that is not measured.
    _execute(
        url,
        "ALTER TABLE procrastinate_jobs DISABLE TRIGGER USER",
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        f" SELECT 'default', 'nothing', '{{}}' FROM generate_series(1, {rows})",
        "ALTER TABLE procrastinate_jobs ENABLE TRIGGER USER",
    )


def _fill_pgqueuer(url: str, rows: int) -> None:
    import psycopg  # noqa: PLC0415 - an extra
    from pgqueuer.db import PsycopgDriver  # noqa: PLC0415 - an extra
    from pgqueuer.queries import Queries  # noqa: PLC0415 - an extra

    async def make() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await Queries(PsycopgDriver(connection)).install()

    asyncio.run(make())
    _execute(
        url,
        "ALTER TABLE pgqueuer DISABLE TRIGGER USER",
        "INSERT INTO pgqueuer (priority, entrypoint, payload, status)"
        f" SELECT 0, 'nothing', '', 'queued' FROM generate_series(1, {rows})",
        "ALTER TABLE pgqueuer ENABLE TRIGGER USER",
    )


FILLS: dict[str, Callable[[str, int], None]] = {
    "procrastinate": _fill_procrastinate,
    "pgqueuer": _fill_pgqueuer,
    "Runner": _fill_runner,
}
LEFT_BEHIND = {
    "procrastinate": (
        "UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL WHERE status = 'doing'"
    ),
    "pgqueuer": "UPDATE pgqueuer SET status = 'queued' WHERE status = 'picked'",
    "Runner": "SELECT 1",  # it gives back by itself
}


def _tidy(way: str, url: str) -> None:
    """Put back what a turn claimed and did not carry, and let every turn begin alike."""
    _execute(url, LEFT_BEHIND[way], "VACUUM (ANALYZE)", "CHECKPOINT")


# The loops, each in a process of its own


def _enlisted(url: str) -> tuple[Store, Batch, str]:
    """Open the filled store; return it, its batch, and the worker that this process is."""
    store = Store.open(url)
    batch = store.batch("many")
    if batch is None:
        raise RuntimeError("there is no batch")
    return store, batch, store.enlist(batches="many", version="benchmark").id


async def runner_jobs(url: str, count: int) -> float:
    """Carry jobs through the real store: claimed, intended, created, settled, each durable."""
    store, batch, me = _enlisted(url)
    durable = Durable(store)
    ready: deque[Job] = deque()
    begun = 0
    claiming = asyncio.Lock()
    began = time.perf_counter()

    async def job() -> Job:
        if not ready:
            async with claiming:
                if not ready:
                    want = Want(batch.id, None, AHEAD)
                    ready.extend(await durable.ask(lambda: store.claim(me, [want])))
        return ready.popleft()

    async def work() -> None:
        nonlocal begun
        while begun < count:
            begun += 1
            one = await job()
            sent = replace(held(one), attempt=one.attempt + 1, state=JobState.SUBMITTING)
            running = replace(sent, state=JobState.RUNNING)
            created = Created(sent, f"run_{one.id}", Evidence("created", 200))
            for move in (Intend(held(one)), created, *settles([running])):
                if not await durable.write(move):
                    raise RuntimeError(f"a move was refused: {store.trouble}")

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    took_s = time.perf_counter() - began
    durable.close()
    store.retire(me)
    store.close()
    return took_s


async def runner_claims(url: str, count: int) -> float:
    store, batch, me = _enlisted(url)
    began = time.perf_counter()
    got = 0
    while got < count:
        got += len(store.claim(me, [Want(batch.id, None, min(AHEAD, count - got))]))
    took_s = time.perf_counter() - began
    store.retire(me)
    store.close()
    return took_s


async def procrastinate_jobs(url: str, count: int) -> float:
    from procrastinate import App, PsycopgConnector  # noqa: PLC0415 - an extra

    app = App(connector=PsycopgConnector(conninfo=url, min_size=10, max_size=10))
    done, enough = 0, asyncio.Event()

    @app.task(name="nothing")
    async def nothing() -> None:
        nonlocal done
        done += 1
        if done == count:
            enough.set()

    async with app.open_async():
        began = time.perf_counter()
        working = asyncio.create_task(
            app.run_worker_async(
                concurrency=AT_ONCE, install_signal_handlers=False, listen_notify=False
            )
        )
        await enough.wait()
        took_s = time.perf_counter() - began
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return took_s


async def procrastinate_claims(url: str, count: int) -> float:
    from procrastinate import App, PsycopgConnector  # noqa: PLC0415 - an extra

    async with App(connector=PsycopgConnector(conninfo=url)).open_async() as app:
        me = await app.job_manager.register_worker()
        began = time.perf_counter()
        for _ in range(count):
            if await app.job_manager.fetch_job(queues=None, worker_id=me) is None:
                raise RuntimeError("nothing was claimed")
        return time.perf_counter() - began


async def pgqueuer_jobs(url: str, count: int) -> float:
    import psycopg  # noqa: PLC0415 - an extra
    from pgqueuer import PgQueuer  # noqa: PLC0415 - an extra
    from pgqueuer.db import PsycopgDriver  # noqa: PLC0415 - an extra

    done, took_s = 0, 0.0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        manager = PgQueuer(PsycopgDriver(connection)).qm

        @manager.entrypoint("nothing")
        async def nothing(_job: object) -> None:
            nonlocal done, took_s
            done += 1
            if done == count:
                took_s = time.perf_counter() - began
                manager.shutdown.set()

        began = time.perf_counter()
        await manager.run(batch_size=AT_ONCE)
    return took_s


async def pgqueuer_claims(url: str, count: int) -> float:
    import psycopg  # noqa: PLC0415 - an extra
    from pgqueuer import PgQueuer  # noqa: PLC0415 - an extra
    from pgqueuer.db import PsycopgDriver  # noqa: PLC0415 - an extra
    from pgqueuer.ports.repository import (  # noqa: PLC0415 - an extra
        EntrypointExecutionParameter,
    )

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        manager = PgQueuer(PsycopgDriver(connection)).qm
        began = time.perf_counter()
        got = 0
        while got < count:
            jobs = await manager.queries.dequeue(
                batch_size=min(AHEAD, count - got),
                entrypoints={"nothing": EntrypointExecutionParameter(concurrency_limit=0)},
                queue_manager_id=manager.queue_manager_id,
                global_concurrency_limit=None,
                heartbeat_timeout=timedelta(seconds=30),
            )
            if not jobs:
                raise RuntimeError("nothing was claimed")
            got += len(jobs)
        return time.perf_counter() - began


LOOPS: dict[tuple[str, str], Callable[[str, int], Awaitable[float]]] = {
    ("Runner", "jobs"): runner_jobs,
    ("Runner", "claims"): runner_claims,
    ("procrastinate", "jobs"): procrastinate_jobs,
    ("procrastinate", "claims"): procrastinate_claims,
    ("pgqueuer", "jobs"): pgqueuer_jobs,
    ("pgqueuer", "claims"): pgqueuer_claims,
}


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("what", choices=("jobs", "claims"))
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    said = parser.parse_args()
    before = time.process_time()
    took_s = await LOOPS[said.way, said.what](said.url, said.count)
    cpu_us = 1e6 * (time.process_time() - before) / said.count
    print(json.dumps({"rate": said.count / took_s, "cpu_us": cpu_us}))


if __name__ == "__main__":
    asyncio.run(main())
