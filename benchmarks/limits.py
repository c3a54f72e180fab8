"""How much of a limit is used, and how often it is run into."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.manifests import write
from benchmarks.measure import TIMES, Options, Table, interleaved, ratio, runner, shown, spend
from benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Use:
    """What the server saw: share of the limit that was used, creates that it refused."""

    use: float
    refused: float


def run(options: Options) -> Table:
    """Send to a server that admits so many creates in any window, and tells it in headers."""
    limit = options.size(200, 100)
    window_s = options.size(10, 5)
    jobs = options.size(1_000, 200)
    manifest = write(options.folder / "limits.jsonl", jobs)
    told = ["--rpm", limit * 60 / window_s, "--window", window_s]

    def use(command: Callable[[str], list[object]]) -> Callable[[], Use]:
        def way() -> Use:
            with Server(limit=limit, window=window_s) as server:
                spend(command(server.url), options.folder)
                seen = server.seen()
            span_s = seen["newest"] - seen["first"]
            return Use((seen["runs"] - 1) / span_s / (limit / window_s), seen["refused"])

        return way

    def ours(*words: object) -> Callable[[str], list[object]]:
        def command(url: str) -> list[object]:
            database = options.fresh("limits.db")
            return runner("run", manifest, "--base-url", url, "--db", database, "--quiet", *words)

        return command

    def cookbook(url: str) -> list[object]:
        rates = [limit / window_s, window_s]
        return [sys.executable, "-m", "benchmarks.bare", "cookbook", url, manifest, *rates]

    ways = {"cookbook: full bucket, 1 ms loop": use(cookbook)}
    for processes in (1, 2) if options.quick else (1, 2, 8):
        name = f"Runner, {processes} process{'es' * (processes > 1)}"
        ways[name] = use(ours(*told, "--processes", processes))
    ways["Runner, learned from headers"] = use(ours("--processes", 1))
    taken = interleaved(ways, options.runs)
    table = Table(
        f"Limits: {jobs:,} jobs, {limit} creates in any {window_s} s",
        ("way", "use of the limit", "429s", f"use {TIMES} the cookbook's"),
        note=(
            "Use: (creates admitted - 1) / (last - first) / (limit / window), by the server's clock."
            " A bucket that starts full shows more than 1 over a short batch: its burst."
        ),
    )
    base = [one.use for one in next(iter(taken.values()))]
    for name, got in taken.items():
        used = [one.use for one in got]
        refused = shown([one.refused for one in got])
        table.rows.append((name, shown(used, ".3f"), refused, ratio(used, base)))
    return table
