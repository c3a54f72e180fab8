"""`python -m benchmarks [NAME…] [--runs N] [--quick] [--out FILE] [--plot FOLDER]`: Markdown."""

import argparse
import importlib
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from benchmarks.measure import DASH, Options, Table
from benchmarks.plot import svg

NAMES = ("start", "polls", "queue", "claim", "export", "throughput", "limits", "flight", "peers")
ALONE = ("ten_million", "ten_million_postgresql")
"""Only where they are named: hours of work, tens of gigabytes of disk."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Runner beside loops that keep nothing."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (all), {', '.join(ALONE)}"
    )
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="rounds (5; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that all works")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the Markdown there too")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw NAME.svg there")
    said = parser.parse_args()
    unknown = [name for name in said.names if name not in NAMES + ALONE]
    if unknown:
        parser.error(f"{unknown[0]!r} is not known; use {', '.join(NAMES + ALONE)}")
    if said.runs < 0:
        parser.error(f"{said.runs} rounds cannot be run; give 1 or more")
    parts = [_machine(said.quick)]
    print(parts[0], flush=True)
    for name in said.names or NAMES:
        print(f"{name}:", file=sys.stderr, flush=True)
        part = imported(name)
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
            runs = said.runs or (1 if said.quick else 5)
            table = part(Options(runs, said.quick, Path(folder)))
        text = table.markdown()
        if said.plot is not None and table.drawn:
            said.plot.mkdir(parents=True, exist_ok=True)
            (said.plot / f"{name}.svg").write_text(svg(table, table.drawn), "utf-8")
        parts.append(text)
        print(text, flush=True)
        if said.out is not None:
            # After each: a long measurement that is broken off keeps what it has.
            said.out.write_text("\n".join(parts), "utf-8")


def imported(name: str) -> Callable[[Options], Table]:
    """Return the measurement of that name."""
    module = importlib.import_module(f"benchmarks.{name}")
    return cast("Callable[[Options], Table]", module.run)


def _machine(quick: bool) -> str:  # noqa: FBT001 - one word of one line
    sizes = "; tiny sizes, which say nothing but that all works" if quick else ""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python"
        f" {platform.python_version()}, SQLite {sqlite3.sqlite_version}{sizes}."
        f" Median [min{DASH}max] of interleaved rounds; ratios are medians of each round's.\n"
    )


if __name__ == "__main__":
    main()
