"""Ten million jobs once: queued, worked at three places, counted, exported; some 40 GB of disk.

A hundredth of them is worked against the server, a third of that with everything queued, with half
of it at rest, and with nothing else left. The others are brought to rest by SQL, since what a
hundred thousand cost says what ten million do, if the places cost alike.
"""

import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

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
        CAST('{"id":"run_settled_' || id || :rest AS BLOB), 200, '', 1, :now, :now
    FROM job
    WHERE id > :after AND id <= :upto AND state = 0 AND worker IS NULL
    ORDER BY id
"""
_JOBS = """
    UPDATE job SET state = 3, status = 'completed', attempt = 1, run_id = 'run_settled_' || id,
        intent_ms = :now, first_intent_ms = :now, created_ms = :now, ended_ms = :now
    WHERE id > :after AND id <= :upto AND state = 0 AND worker IS NULL
"""
_LESS = "UPDATE tally SET jobs = jobs - ? WHERE state = 0"
_MORE = """
    INSERT INTO tally (batch_id, state, status, jobs) SELECT id, 3, 'completed', ? FROM batch
    WHERE true
    ON CONFLICT (batch_id, state, status) DO UPDATE SET jobs = jobs + excluded.jobs
"""


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
    """Do it once, however many rounds are asked for."""
    jobs = options.size(10_000_000, 30_000)
    share = options.size(jobs // 300, 1_000)
    figures = Figures()
    database = options.fresh("many.db")
    small = _small(options)
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


def _small(options: Options) -> Filled:
    store, batch = queued(options.fresh("small.db"), 10_000)
    return Filled(store, batch, store.enlist(batches=NAME, version="benchmark").id)


def _queue(options: Options, figures: Figures, database: Path, server: Server, jobs: int) -> None:
    manifest = write(options.folder / f"{NAME}.jsonl", jobs)
    size = manifest.stat().st_size
    words = ["--db", database, "--base-url", server.url, "--quiet"]
    spent = spend(runner("queue", manifest, *words), options.folder)
    manifest.unlink()
    figures.tell("manifest", f"{size / 1e9:.1f} GB")
    figures.tell("`runner queue`", f"{spent.wall_s:,.0f} s, {jobs / spent.wall_s:,.0f} lines/s")
    figures.tell("`runner queue`: CPU", f"{1e6 * spent.cpu_s / jobs:.1f} µs a line")
    figures.tell("`runner queue`: peak", f"{spent.peak_mib:,.0f} MiB")
    figures.tell("database, all queued", _size(database))


def _size(database: Path) -> str:
    return f"{database.stat().st_size / 1e9:.1f} GB"


def _settle(database: Path, upto: int) -> int:
    """Bring the queued jobs up to that id to rest; return how many."""
    rest = f'","object":"thread.run","status":"completed","padding":"{PADDING.decode()}"}}'
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous = OFF")
    (first,) = connection.execute("SELECT coalesce(min(id), 0) FROM job WHERE state = 0").fetchone()
    settled = 0
    for after in range(first - 1, upto, CHUNK):
        binds = {
            "after": after,
            "upto": min(upto, after + CHUNK),
            "now": time.time_ns() // 1_000_000,
            "rest": rest,
        }
        with connection:
            connection.execute(_OUTCOMES, binds)
            moved = connection.execute(_JOBS, {k: binds[k] for k in ("after", "upto", "now")})
            connection.execute(_LESS, (moved.rowcount,))
            connection.execute(_MORE, (moved.rowcount,))
        settled += moved.rowcount
    connection.close()
    return settled


def _at_rest(database: Path) -> int:
    connection = sqlite3.connect(database)
    (jobs,) = connection.execute(
        "SELECT coalesce(sum(jobs), 0) FROM tally WHERE state > 2"
    ).fetchone()
    connection.close()
    return int(jobs)


def _status(options: Options, database: Path) -> float:
    words = ["--db", database, "--quiet"]
    taken = [spend(runner("status", *words), options.folder).wall_s for _ in range(3)]
    return statistics.median(taken)


def _claims(options: Options, figures: Figures, at: str, database: Path, small: Filled) -> None:
    store = Store.open(str(database))
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


def _work(database: Path, server: Server, share: int) -> Worked:
    """Work until the server made so many runs more, 0: until every job is at rest."""
    words = runner("work", "--db", database, "--base-url", server.url, "--processes", 1, "--quiet")
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


def _counts(figures: Figures, database: Path, server: Server, jobs: int) -> None:
    """Every job is at rest, and no run of the server's is of two jobs; RuntimeError if not so."""
    if (found := _at_rest(database)) != jobs:
        raise RuntimeError(f"{found:,} of {jobs:,} jobs are at rest")
    connection = sqlite3.connect(database)
    (ours,) = connection.execute(
        "SELECT count(DISTINCT run_id) FROM job WHERE run_id GLOB 'run_0*'"
    ).fetchone()
    connection.close()
    made = int(server.seen()["runs"])
    if ours != made:
        raise RuntimeError(f"the server made {made:,} runs, and {ours:,} have a job")
    figures.tell("runs that the server made, each of one job", f"{made:,}")
    figures.tell("database, all at rest", _size(database))


def _export(options: Options, figures: Figures, database: Path, jobs: int) -> None:
    out = options.fresh("many.out")
    spent = spend(runner("export", "--db", database, "--out", out, "--quiet"), options.folder)
    with out.open("rb") as file:
        rows = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    if rows != jobs:
        raise RuntimeError(f"{rows:,} rows were exported of {jobs:,}")
    figures.tell("`runner export`", f"{spent.wall_s:,.0f} s, {rows / spent.wall_s:,.0f} rows/s")
    figures.tell("`runner export`: peak", f"{spent.peak_mib:,.0f} MiB")
    figures.tell("results", _size(out))
    out.unlink()
