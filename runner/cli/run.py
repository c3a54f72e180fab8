"""`runner run`: queue, work, export."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.given import Manifests, again, at, put, standard_input
from runner.cli.options import API, QUEUE, TALK, WORK, takes
from runner.config import Settings

if TYPE_CHECKING:
    from runner.app import Commands
    from runner.carrying import Carried
    from runner.cli.screen import Ways
    from runner.cli.talk import Teller

EXAMPLE = "runner run sweep.jsonl --base-url https://agents.example.org/v1 --out results.jsonl"

Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="FILE",
        show_default=False,
        help="Write the results there, a row a job in manifest order; - for standard output.",
    ),
]


@takes(*TALK, *API, *QUEUE, *WORK)
def run(settings: Settings, manifests: Manifests, out: Out = None) -> int:
    """Carry manifests to their end: queue, work, export.

    The same command again resumes and redoes nothing. Without --out the results of a small batch
    are shown, and those of a large one stay in the database for `runner export`.
    """
    from runner.cli.opened import opened
    from runner.cli.screen import Ways

    with opened(settings) as (runner, teller):
        carried = runner.run(manifests, standard_input(), out=out)
        finish(runner, teller, carried, Ways(again(), at(settings), out))
        return carried.exit_code


def finish(runner: "Commands", teller: "Teller", carried: "Carried", ways: "Ways") -> None:
    """Say how the work ended, and show a small batch's results where they went nowhere else."""
    from runner.cli.screen import mapping, summary
    from runner.cli.talk import GREEN, RED, YELLOW

    teller.rest()
    if ways.out is None and len(carried.batches) == 1:
        _show_results(runner, carried)
    if teller.manner.quiet and carried.exit_code == 0:
        return
    colour = {0: GREEN, 1: RED}.get(carried.exit_code, YELLOW)
    lines = summary(carried, ways)
    figures = {"batches": [mapping(progress) for progress in carried.batches]}
    teller.say(lines, colour, exit_code=carried.exit_code, **figures)


def _show_results(runner: "Commands", carried: "Carried") -> None:
    from runner.cli.screen import TABLE_MOST, results

    progress = carried.batches[0]
    if not 0 < progress.jobs <= TABLE_MOST or not progress.at_rest:
        return
    outcomes = runner.outcomes(runner.one(progress.batch).id)
    put(*results(islice(outcomes, TABLE_MOST)))
