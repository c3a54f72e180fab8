"""What it costs to start: CPU and wall of the commands that people wait for."""

import sys
from functools import partial

from benchmarks.filled import queued
from benchmarks.measure import TIMES, Options, Table, interleaved, ratio, runner, shown, spend

BARE = "python -c pass"


def run(options: Options) -> Table:
    """Start the interpreter alone, the help, and the status of a small batch."""
    database = options.fresh("start.db")
    queued(database, 10)[0].close()
    commands: dict[str, list[object]] = {
        BARE: [sys.executable, "-c", "pass"],
        "runner --help": runner("--help"),
        "runner status": runner("status", "--db", database),
    }
    ways = {name: partial(spend, command, options.folder) for name, command in commands.items()}
    for way in ways.values():
        way()  # compiles what was not yet compiled
    # Starts are short and their noise is large: five times the rounds.
    taken = interleaved(ways, options.runs * options.size(5, 1))
    base = [one.cpu_s for one in taken[BARE]]
    table = Table(
        "Start",
        ("command", "CPU ms", f"{TIMES} bare Python", "wall ms", "peak MiB"),
    )
    for name, got in taken.items():
        cpu = [one.cpu_s for one in got]
        wall = shown([1000 * one.wall_s for one in got])
        peak = shown([one.peak_mib for one in got])
        millis = shown([1000 * one for one in cpu])
        table.rows.append((name, millis, ratio(cpu, base, ".1f"), wall, peak))
    return table
