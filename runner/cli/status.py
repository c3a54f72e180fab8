"""`runner status`: where batches stand."""

import shutil
import sys
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.given import AsJson, OneBatch, put
from runner.cli.options import BATCH, batch_of, takes
from runner.cli.talk import is_terminal, manner_of
from runner.config import Settings

if TYPE_CHECKING:
    from runner.core.progress import Progress

EXAMPLE = "runner status sweep --watch"
WATCHED_EVERY_S = 1.0

Watch = Annotated[
    bool, typer.Option("--watch", help="Show it again each second, until all is at rest.")
]
Workers = Annotated[bool, typer.Option("--workers", help="The workers too, and what they hold.")]


@takes(*BATCH)
def status(
    settings: Settings,
    batch: OneBatch = None,
    watch: Watch = False,
    as_json: AsJson = False,
    workers: Workers = False,
) -> int:
    """Tell where batches stand.

    Counts by state and status, budgets, tokens, failures by cause. Without a name all batches
    are told.
    """
    from runner.cli.opened import opened

    name = batch_of(settings, batch)
    with opened(settings) as (runner, _teller):
        drawn = 0
        moving = manner_of(settings, terminal=is_terminal(sys.stdout)).live and not as_json
        while True:
            found = runner.status(name)
            lines = _lines(found, as_json=as_json, workers=workers)
            if watch and moving:
                drawn = _draw(lines, drawn)
            else:
                put(*lines)
            if not watch or all(progress.whole for progress in found):
                return 0
            Event().wait(WATCHED_EVERY_S)


def _lines(found: Sequence["Progress"], *, as_json: bool, workers: bool) -> list[str]:
    from runner.cli import screen

    if as_json:
        return [screen.as_json(progress) for progress in found]
    if not found:
        return ["no batches"]
    parts = [screen.status_lines(progress) for progress in found]
    if workers:
        parts.append(screen.worker_lines(found[0]))
    return [line for number, part in enumerate(parts) for line in ([""] if number else []) + part]


def _draw(lines: list[str], drawn: int) -> int:
    """Draw over what was drawn before; return how many lines there are now.

    Lines are cut to the terminal: one that wraps would move all others at the next drawing.
    """
    size = shutil.get_terminal_size((80, 24))
    cut = [line[: size.columns - 1] for line in lines[: size.lines - 1]]
    up = f"\x1b[{drawn}A\r\x1b[J" if drawn else ""
    put(up + "\n".join(cut))
    return len(cut)
