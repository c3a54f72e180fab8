"""Rows a second of `runner export`, beside a bare dump of the same run objects."""

import sys
from collections.abc import Callable

from benchmarks.filled import at_rest
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

BARE = "bare sqlite3, run objects alone"


def run(options: Options) -> Table:
    """Export a batch that is at rest, in each form that needs no extra."""
    rows = options.size(200_000, 2_000)
    database = options.fresh("export.db")
    at_rest(database, rows)

    def bare() -> Spent:
        words = ["dump", database, options.fresh("export.out")]
        return spend([sys.executable, "-m", "benchmarks.bare", *words], options.folder)

    def ours(form: str) -> Callable[[], Spent]:
        def way() -> Spent:
            words = ["--db", database, "--out", options.fresh("export.out"), "--format", form]
            return spend(runner("export", *words, "--quiet"), options.folder)

        return way

    ways = {BARE: bare, **{f"Runner, {form}": ours(form) for form in ("jsonl", "csv")}}
    taken = interleaved(ways, options.runs)
    rates = {name: [rows / one.wall_s for one in got] for name, got in taken.items()}
    table = Table(
        f"Export: {rows:,} rows",
        ("way", "rows/s", "CPU µs/row", f"{TIMES} bare sqlite3", "peak MiB"),
        note="Whole processes, start-up included.",
    )
    for name, got in taken.items():
        cpu = shown([1e6 * one.cpu_s / rows for one in got], ",.1f")
        peak = shown([one.peak_mib for one in got])
        against = ratio(rates[name], rates[BARE])
        table.rows.append((name, shown(rates[name]), cpu, against, peak))
    return table
