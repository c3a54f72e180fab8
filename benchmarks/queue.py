"""Lines a second of `runner queue`, beside bare inserts of the same lines."""

import sys

from benchmarks.manifests import write
from benchmarks.measure import (
    TIMES,
    Options,
    Spent,
    Table,
    interleaved,
    ratio,
    runner,
    shown,
    spend,
)


def run(options: Options) -> Table:
    """Queue a manifest into a fresh SQLite file; a tenth of it too, for the memory."""
    many = options.size(1_000_000, 5_000)
    manifests = {n: write(options.folder / f"queue-{n}.jsonl", n) for n in (many, many // 10)}

    def bare() -> Spent:
        words = ["insert", manifests[many], options.fresh("bare.db")]
        return spend([sys.executable, "-m", "benchmarks.bare", *words], options.folder)

    def ours(lines: int) -> Spent:
        database = options.fresh("queue.db")
        words = ["--db", database, "--base-url", "http://127.0.0.1:9/v1", "--quiet"]
        return spend(runner("queue", manifests[lines], *words), options.folder)

    sizes = {"bare sqlite3 executemany": many, "Runner": many, "Runner, a tenth": many // 10}
    ways = {
        "bare sqlite3 executemany": bare,
        "Runner": lambda: ours(many),
        "Runner, a tenth": lambda: ours(many // 10),
    }
    taken = interleaved(ways, options.runs)
    rates = {name: [sizes[name] / one.wall_s for one in got] for name, got in taken.items()}
    table = Table(
        "Queueing",
        ("way", "lines", "lines/s", "CPU µs/line", f"{TIMES} bare sqlite3", "peak MiB"),
        note="Whole processes, start-up included. Flat memory: the two peaks of Runner are alike.",
    )
    for name, got in taken.items():
        cpu = shown([1e6 * one.cpu_s / sizes[name] for one in got], ",.1f")
        against = ratio(rates[name], rates["bare sqlite3 executemany"])
        peak = shown([one.peak_mib for one in got])
        table.rows.append((name, f"{sizes[name]:,}", shown(rates[name]), cpu, against, peak))
    return table
