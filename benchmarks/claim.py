"""Milliseconds to claim a hundred jobs and to settle them, by how many are queued."""

import time
from dataclasses import dataclass

from benchmarks.filled import queued, record, settles, started
from benchmarks.measure import TIMES, Options, Table, interleaved, ratio, shown
from runner.core.batch import Batch
from runner.store.claim import Want
from runner.store.store import Store

GROUP = 100


@dataclass(frozen=True, slots=True)
class Filled:
    """A store with queued jobs, and the worker that claims them."""

    store: Store
    batch: Batch
    me: str

    def turn(self) -> tuple[float, float]:
        """Carry a hundred jobs through; return the milliseconds of the claim and of the settle."""
        began = time.perf_counter()
        jobs = self.store.claim(self.me, [Want(self.batch.id, None, GROUP)])
        claimed = time.perf_counter()
        moves = settles(started(self.store, jobs))
        running = time.perf_counter()
        record(self.store, moves)
        return 1000 * (claimed - began), 1000 * (time.perf_counter() - running)


def run(options: Options) -> Table:
    """Claim and settle in turns on a small and on a large database, each durable when it ends."""
    sizes = (10_000, options.size(1_000_000, 20_000))
    turns = options.size(10, 3) * options.runs
    filled: dict[str, Filled] = {}
    for jobs in sizes:
        store, batch = queued(options.fresh(f"claim-{jobs}.db"), jobs)
        me = store.enlist(batches="many", version="benchmark").id
        filled[f"{jobs:,}"] = Filled(store, batch, me)
    taken = interleaved({name: one.turn for name, one in filled.items()}, turns)
    for one in filled.values():
        one.store.retire(one.me)
        one.store.close()
    table = Table(
        "Claim and settle",
        (
            "jobs queued",
            "claim of 100, ms",
            f"{TIMES} the first",
            "settle of 100, ms",
            f"{TIMES} the first",
        ),
        note="Through the store's own interface, on SQLite with synchronous=FULL, commits included.",
    )
    base = taken[f"{sizes[0]:,}"]
    for name, got in taken.items():
        cells: list[str] = []
        for place in (0, 1):
            took = [one[place] for one in got]
            cells += [shown(took, ".2f"), ratio(took, [one[place] for one in base])]
        table.rows.append((name, *cells))
    return table
