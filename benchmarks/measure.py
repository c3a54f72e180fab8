"""How everything here is measured: whole processes, in turns, medians with their ranges.

The machine's speed moves by a fifth from minute to minute, so ways are run A B C A B C and compared
round by round: ratios taken in one round hold, absolute figures do not.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"
LIMIT_S = 3600.0
"""After this a child is killed: a benchmark that hangs must end."""

KEPT_OUT = (
    "RUNNER_",
    "OPENAI_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "PYTHONDONTWRITEBYTECODE",  # each start would compile anew what it imports
    "PYTHONUNBUFFERED",
)
"""Variables that would change what is measured, or send it through a proxy."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure: `runs` rounds, `quick` sizes to see that all works; files in `folder`."""

    runs: int
    quick: bool
    folder: Path

    def size(self, full: int, quick: int) -> int:
        """Return the size in force."""
        return quick if self.quick else full

    def fresh(self, name: str) -> Path:
        """Return a path in the folder at which no file is, SQLite's companions included."""
        path = self.folder / name
        for ending in ("", "-wal", "-shm"):
            Path(f"{path}{ending}").unlink(missing_ok=True)
        return path


@dataclass(frozen=True, slots=True)
class Spent:
    """What a child process took: seconds of wall and of CPU, MiB at its peak.

    CPU holds the children that it waited for; the peak is the greatest process's alone.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Table:
    """A result: one line a way, first the baseline."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    note: str = ""
    drawn: str = ""
    """The column that `--plot` draws."""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [f"### {self.title}", ""]
        lines += [f"| {' | '.join(row)} |" for row in (self.columns, ["---"] * len(self.columns))]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])]) + "\n"


def environment() -> dict[str, str]:
    """Return what children see: this environment without what would change the measurement."""
    seen = os.environ  # noqa: TID251 - what the children are started with
    kept = {k: v for k, v in seen.items() if not k.upper().startswith(KEPT_OUT)}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH", ""))))
    return {**kept, "PYTHONPATH": path, "NO_COLOR": "1"}


def spend(command: Sequence[object], folder: Path) -> Spent:
    """Run a command to its end in `folder` and return what it took; RuntimeError if it failed.

    What it wrote to stdout is in the folder's `child.out`.
    """
    figures = folder / "child.figures"
    launch = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "launch.py"), str(figures)]
    with (folder / "child.out").open("wb") as out, (folder / "child.err").open("w+b") as err:
        done = subprocess.run(
            [*launch, *map(str, command)],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=LIMIT_S,
            check=False,
        )
        err.seek(0)
        said = err.read().decode("utf-8", "replace")
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}: {said[-500:]}")
    wall_s, cpu_s, peak = map(float, figures.read_text("utf-8").split())
    return Spent(wall_s, cpu_s, peak / (1024 * 1024 if sys.platform == "darwin" else 1024))


def runner(*words: object) -> list[object]:
    """Return the command line of Runner with these words."""
    return [sys.executable, "-m", "runner", *words]


def interleaved(ways: Mapping[str, Callable[[], T]], runs: int) -> dict[str, list[T]]:
    """Take every way once a round, for so many rounds; the figures of a round are comparable."""
    taken: dict[str, list[T]] = {name: [] for name in ways}
    for turn in range(runs):
        for name, way in ways.items():
            print(f"  round {turn + 1}/{runs}: {name}", file=sys.stderr, flush=True)
            taken[name].append(way())
    return taken


def shown(figures: Sequence[float], form: str = ",.0f") -> str:
    """Return the median and, in brackets, least and greatest; a single figure alone."""
    middle = format(statistics.median(figures), form)
    if len(figures) == 1:
        return middle
    return f"{middle} [{min(figures):{form}}{DASH}{max(figures):{form}}]"


def ratio(figures: Sequence[float], baseline: Sequence[float], form: str = ".2f") -> str:
    """Return the median of the ratios of each round; a dash where the baseline is 0."""
    pairs = [a / b for a, b in zip(figures, baseline, strict=True) if b]
    return format(statistics.median(pairs), form) if pairs else DASH
