"""Jobs a second and CPU a job of the whole command, beside bare loops on the same server."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

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
from benchmarks.servers import Server

CONCURRENCY = 100


def run(options: Options) -> Table:
    """Carry manifests with no limit: a create answers queued, the first read completed."""
    many = options.size(20_000, 400)
    some = options.size(6_000, 200)
    few = options.size(600, 50)
    sizes = {
        "bare aiohttp": many,
        "bare httpx, one pool": few,
        "openai SDK": options.size(2_000, 100),
        "cookbook: full bucket, 1 ms loop": some,
        "Runner, aiohttp": many,
        "Runner, aiohttp, 1 process": many,
        "Runner, aiohttp, 2 processes": many,
        "Runner, httpx": some,
        "Runner, httpx, 1 process": some,
        "Runner, httpx, 2 processes": some,
    }
    kinds = ("aiohttp", "httpx", "sdk", "cookbook")
    manifests = {n: write(options.folder / f"{n}.jsonl", n) for n in set(sizes.values())}
    ways: dict[str, Callable[[], Spent]] = {}
    for name, jobs in sizes.items():
        manifest = manifests[jobs]
        if name.startswith("Runner"):
            _, client, *told = name.split(", ")
            processes = ("--processes", told[0].split()[0]) if told else ()
            ways[name] = _ours(options, manifest, client, processes)
        else:
            ways[name] = _bare(options, manifest, kinds[len(ways)])
    taken = interleaved(ways, options.runs)
    rates = {name: [sizes[name] / one.wall_s for one in got] for name, got in taken.items()}
    cpus = {name: [1e6 * one.cpu_s / sizes[name] for one in got] for name, got in taken.items()}
    table = Table(
        "Throughput",
        (
            "way",
            "jobs",
            "jobs/s",
            "CPU µs/job",
            f"{TIMES} bare aiohttp",
            f"{TIMES} bare httpx",
            f"{TIMES} SDK",
            "peak MiB",
        ),
        note=(
            "Runner's figures are the whole command, start-up and export included; those of the bare"
            " loops are the loop alone. Peak: of the largest process."
        ),
        drawn="jobs/s",
    )
    for name, got in taken.items():
        against = [
            ratio(rates[name], rates[base])
            for base in ("bare aiohttp", "bare httpx, one pool", "openai SDK")
        ]
        peak = shown([one.peak_mib for one in got])
        table.rows.append(
            (name, f"{sizes[name]:,}", shown(rates[name]), shown(cpus[name]), *against, peak)
        )
    return table


def _bare(options: Options, manifest: Path, kind: str) -> Callable[[], Spent]:
    def way() -> Spent:
        with Server() as server:
            command = [sys.executable, "-m", "benchmarks.bare", kind, server.url, manifest]
            spent = spend(command, options.folder)
        took = json.loads((options.folder / "child.out").read_text("utf-8"))
        return Spent(took["wall_s"], took["cpu_s"], spent.peak_mib)

    return way


def _ours(
    options: Options, manifest: Path, client: str, processes: tuple[str, ...]
) -> Callable[[], Spent]:
    def way() -> Spent:
        with Server() as server:
            words = ["--base-url", server.url, "--http", client, *processes]
            words += ["--concurrency", CONCURRENCY, "--db", options.fresh("throughput.db")]
            words += ["--out", options.fresh("throughput.out"), "--quiet"]
            return spend(runner("run", manifest, *words), options.folder)

    return way
