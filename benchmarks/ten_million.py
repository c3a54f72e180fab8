"""Ten million jobs once: queued, worked at three places, counted, exported; some 40 GB of disk.

A hundredth of them is worked against the server, a third of that with everything queued, with half
of it at rest, and with nothing else left. The others are brought to rest by SQL, since what a
hundred thousand cost says what ten million do, if the places cost alike.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, create_engine, text

from benchmarks.claim import Filled
from benchmarks.filled import PADDING, queued
from benchmarks.manifests import write
from benchmarks.measure import ROOT, TIMES, Options, Table, environment, runner, spend
from benchmarks.servers import Server
from runner.store.store import Store

NAME = "many"
CHUNK = 200_000
"""Jobs that SQL brings to rest in one transaction: the journal stays bounded."""

WAIT_S = 900.0
"""A worker that made nothing for so long is given up."""

_OUTCOMES = """
    INSERT INTO outcome (job_id, generation, status, run_id, run, http_status, request_id,
        attempts, created_ms, ended_ms)
    SELECT id, generation, 'completed', 'run_settled_' || id,
        {run}, 200, '', 1, :now, :now
    FROM job
    WHERE id > :after AND id <= :upto AND state = 0 AND worker IS NULL
    ORDER BY id
"""
_JOBS = """
    UPDATE job SET state = 3, status = 'completed', attempt = 1, run_id = 'run_settled_' || id,
        intent_ms = :now, first_intent_ms = :now, created_ms = :now, ended_ms = :now
    WHERE id > :after AND id <= :upto AND state = 0 AND worker IS NULL
"""
_RUN = {
    "sqlite": 'CAST(\'{"id":"run_settled_\' || id || :rest AS BLOB)',
    "postgresql": "convert_to('{\"id\":\"run_settled_' || id || CAST(:rest AS text), 'UTF8')",
}
_LESS = "UPDATE tally SET jobs = jobs - :jobs WHERE state = 0"
_MORE = """
    INSERT INTO tally (batch_id, state, status, jobs)
    SELECT id, 3, 'completed', CAST(:jobs AS bigint) FROM batch
    WHERE true
    ON CONFLICT (batch_id, state, status) DO UPDATE SET jobs = tally.jobs + excluded.jobs
"""
_FAST = {"sqlite": "PRAGMA synchronous = OFF", "postgresql": "SET synchronous_commit = off"}
_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}


@dataclass(frozen=True, slots=True)
class Database:
    """What `--db` says: a SQLite file or a URL."""

    place: str

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Yield a connection of its own, closed with its engine at the end."""
        _, at, rest = self.place.partition("://")
        engine = create_engine(f"postgresql+psycopg://{rest}" if at else f"sqlite:///{self.place}")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def number(self, statement: str) -> int:
        """Return the one number that a query yields."""
        with self.connected() as connection:
            return int(connection.execute(text(statement)).scalar_one())

    @property
    def size(self) -> str:
        """How much room it takes."""
        with self.connected() as connection:
            taken = connection.execute(text(_SIZE[connection.dialect.name])).scalar_one()
        return f"{int(taken) / 1e9:.1f} GB"


@dataclass(frozen=True, slots=True)
class Worked:
    """What a worker took: seconds to its first create, jobs a second from there on, MiB at most."""

    first_s: float
    rate: float
    peak_mib: float


@dataclass(slots=True)
class Figures:
    """What was measured so far, told as it comes: the whole takes long."""

    rows: list[tuple[str, ...]] = field(default_factory=list)

    def tell(self, what: str, figure: str) -> None:
        self.rows.append((what, figure))
        print(f"  {what}: {figure}", file=sys.stderr, flush=True)


def run(options: Options) -> Table:
    """Do it once on SQLite, however many rounds are asked for."""
    small, large = options.fresh("small.db"), options.fresh("many.db")
    return carry_all(options, Database(str(large)), Database(str(small)))


def carry_all(options: Options, database: Database, other: Database) -> Table:
    """Do it in that database, beside ten thousand jobs in the other."""
    jobs = options.size(10_000_000, 30_000)
    share = options.size(jobs // 300, 1_000)
    figures = Figures()
    store, batch = queued(other.place, 10_000)
    small = Filled(store, batch, store.enlist(batches=NAME, version="benchmark").id)
    with Server() as server:
        _queue(options, figures, database, server, jobs)
        places = (("start", 0), ("middle", jobs // 2), ("end", jobs - share))
        for place, upto in places:
            began = time.perf_counter()
            settled = _settle(database, upto)
            took = time.perf_counter() - began
            if settled:
                print(f"  {settled:,} settled by SQL in {took:,.0f} s", file=sys.stderr, flush=True)
            at = f"{place}, {jobs - _at_rest(database):,} queued"
            figures.tell(f"{at}: `runner status`", f"{_status(options, database):.2f} s")
            _claims(options, figures, at, database, small)
            got = _work(database, server, share if place != "end" else 0)
            figures.tell(f"{at}: first create after", f"{got.first_s:.1f} s")
            figures.tell(f"{at}: jobs/s", f"{got.rate:,.0f}")
            figures.tell(f"{at}: peak of the worker", f"{got.peak_mib:,.0f} MiB")
        _counts(figures, database, server, jobs)
    small.store.retire(small.me)
    small.store.close()
    _export(options, figures, database, jobs)
    return Table(
        f"{jobs:,} jobs, once",
        ("what", "figure"),
        figures.rows,
        f"{3 * share:,} of them worked against the server, the others brought to rest by SQL.",
    )


def _queue(
    options: Options, figures: Figures, database: Database, server: Server, jobs: int
) -> None:
    manifest = write(options.folder / f"{NAME}.jsonl", jobs)
    size = manifest.stat().st_size
    words = ["--db", database.place, "--base-url", server.url, "--quiet"]
    spent = spend(runner("queue", manifest, *words), options.folder)
    manifest.unlink()
    figures.tell("manifest", f"{size / 1e9:.1f} GB")
    figures.tell("`runner queue`", f"{spent.wall_s:,.0f} s, {jobs / spent.wall_s:,.0f} lines/s")
    figures.tell("`runner queue`: CPU", f"{1e6 * spent.cpu_s / jobs:.1f} µs a line")
    figures.tell("`runner queue`: peak", f"{spent.peak_mib:,.0f} MiB")
    figures.tell("database, all queued", database.size)


def _settle(database: Database, upto: int) -> int:
    """Bring the queued jobs up to that id to rest; return how many."""
    rest = f'","object":"thread.run","status":"completed","padding":"{PADDING.decode()}"}}'
    settled = 0
    first = database.number("SELECT coalesce(min(id), 0) FROM job WHERE state = 0")
    with database.connected() as connection:
        engine = connection.dialect.name
        connection.execute(text(_FAST[engine]))
        connection.commit()
        outcomes = text(_OUTCOMES.replace("{run}", _RUN[engine]))
        for after in range(first - 1, upto, CHUNK):
            binds = {
                "after": after,
                "upto": min(upto, after + CHUNK),
                "now": time.time_ns() // 1_000_000,
            }
            connection.execute(outcomes, {**binds, "rest": rest})
            moved = connection.execute(text(_JOBS), binds).rowcount
            connection.execute(text(_LESS), {"jobs": moved})
            connection.execute(text(_MORE), {"jobs": moved})
            connection.commit()
            settled += moved
    return settled


def _at_rest(database: Database) -> int:
    return database.number("SELECT coalesce(sum(jobs), 0) FROM tally WHERE state > 2")


def _status(options: Options, database: Database) -> float:
    words = ["--db", database.place, "--quiet"]
    taken = [spend(runner("status", *words), options.folder).wall_s for _ in range(3)]
    return statistics.median(taken)


def _claims(options: Options, figures: Figures, at: str, database: Database, small: Filled) -> None:
    store = Store.open(database.place)
    batch = store.batch(NAME)
    if batch is None:
        raise RuntimeError(f"there is no batch {NAME}")
    large = Filled(store, batch, store.enlist(batches=NAME, version="benchmark").id)
    pairs = [(large.turn(), small.turn()) for _ in range(options.size(20, 3))]
    for what, index in (("claim", 0), ("settle", 1)):
        ours = statistics.median(pair[0][index] for pair in pairs)
        ratio = statistics.median(pair[0][index] / pair[1][index] for pair in pairs)
        figures.tell(
            f"{at}: {what} of 100 jobs", f"{ours:.2f} ms, {ratio:.2f} {TIMES} that at 10,000"
        )
    store.retire(large.me)
    store.close()


def _work(database: Database, server: Server, share: int) -> Worked:
    """Work until the server made so many runs more, 0: until every job is at rest."""
    words = runner(
        "work", "--db", database.place, "--base-url", server.url, "--processes", 1, "--quiet"
    )
    before = int(server.seen()["runs"])
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in words],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first = newest = 0.0
    made = told = 0
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        now = time.perf_counter()
        if ended:
            break
        made = int(server.seen()["runs"]) - before
        if made > told:
            first, newest, told = first or now, now, made
        if share and made >= share:
            process.send_signal(signal.SIGINT)
            share = 0
        if now - (newest or began) > WAIT_S:
            process.kill()
        time.sleep(0.02)  # noqa: TID251 - outside Runner
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3) or not made:
        raise RuntimeError(f"runner work: exit {process.returncode} after {made} runs")
    kib = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Worked(first - began, told / max(newest - first, 1e-9), kib / 1024)


def _counts(figures: Figures, database: Database, server: Server, jobs: int) -> None:
    """Every job is at rest, and no run of the server's is of two jobs; RuntimeError if not so."""
    if (found := _at_rest(database)) != jobs:
        raise RuntimeError(f"{found:,} of {jobs:,} jobs are at rest")
    ours = database.number(
        r"SELECT count(DISTINCT run_id) FROM job WHERE run_id LIKE 'run@_0%' ESCAPE '@'"
    )
    made = int(server.seen()["runs"])
    if ours != made:
        raise RuntimeError(f"the server made {made:,} runs, and {ours:,} have a job")
    figures.tell("runs that the server made, each of one job", f"{made:,}")
    figures.tell("database, all at rest", database.size)


def _export(options: Options, figures: Figures, database: Database, jobs: int) -> None:
    out = options.fresh("many.out")
    spent = spend(runner("export", "--db", database.place, "--out", out, "--quiet"), options.folder)
    with out.open("rb") as file:
        rows = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    if rows != jobs:
        raise RuntimeError(f"{rows:,} rows were exported of {jobs:,}")
    figures.tell("`runner export`", f"{spent.wall_s:,.0f} s, {rows / spent.wall_s:,.0f} rows/s")
    figures.tell("`runner export`: peak", f"{spent.peak_mib:,.0f} MiB")
    figures.tell("results", f"{out.stat().st_size / 1e9:.1f} GB")
    out.unlink()
