"""Memory with many slow runs in flight."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.manifests import write
from benchmarks.measure import DASH, TIMES, Options, Table, interleaved, ratio, runner, shown, spend
from benchmarks.servers import Server

SHORT_S = 0.2
HELD_S = 3.0
FEW = 50


@dataclass(frozen=True, slots=True)
class Flown:
    """Runs that were in flight at most, by the server's count, and Runner's peak."""

    most: float
    peak_mib: float


def run(options: Options) -> Table:
    """Carry the same jobs with few in flight and with many.

    The ceiling of runs in flight grows by what ends well, so the first runs are short; the last
    ones stay until nothing more was created for three seconds.
    """
    many = options.size(2_000, 200)
    jobs = 4 * many
    manifest = write(options.folder / "flight.jsonl", jobs)

    def flown(concurrency: int) -> Callable[[], Flown]:
        def way() -> Flown:
            held = many if concurrency == many else 0
            server = Server(duration=SHORT_S, short=jobs - held, hold=HELD_S)
            with server:
                words = ["--base-url", server.url, "--db", options.fresh("flight.db")]
                words += ["--concurrency", concurrency, "--processes", 1, "--quiet"]
                spent = spend(runner("run", manifest, *words), options.folder)
                return Flown(server.seen()["most_under_way"], spent.peak_mib)

        return way

    taken = interleaved({f"{n:,}": flown(n) for n in (FEW, many)}, options.runs)
    base = [one.peak_mib for one in taken[f"{FEW:,}"]]
    table = Table(
        f"In flight: {jobs:,} jobs",
        ("ceiling", "in flight at most", "peak MiB", f"{TIMES} the first", "KiB a run more"),
        note="In flight by the server's count: runs that it had not yet told to be over.",
    )
    for name, got in taken.items():
        most, peak = [one.most for one in got], [one.peak_mib for one in got]
        more = [1024 * (p - b) / m for p, b, m in zip(peak, base, most, strict=True)]
        each = shown(more, ",.1f") if name != f"{FEW:,}" else DASH
        table.rows.append((name, shown(most), shown(peak), ratio(peak, base), each))
    return table
