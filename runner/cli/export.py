"""`runner export`: results so far or whole, while workers work."""

from collections.abc import Sequence
from typing import Annotated

import typer

from runner.cli.given import OneBatch, completing
from runner.cli.options import BATCH, batch_of, takes
from runner.config import Settings, nearest
from runner.core.errors import UsageError, quoted

EXAMPLE = "runner export sweep --out results.csv --format csv --state succeeded"
FORMS = ("jsonl", "csv", "parquet", "batch", "raw")

Out = Annotated[str, typer.Option("--out", metavar="FILE", help="Where to; - for standard output.")]
Form = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="|".join(FORMS),
        help="The form of the results.",
        autocompletion=completing(FORMS),
    ),
]
States = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="Only jobs in this state.", show_default=False),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status", metavar="STATUS", help="Only jobs of this status.", show_default=False
    ),
]
Follow = Annotated[
    bool, typer.Option("--follow", help="Write rows as jobs come to rest, until all are.")
]
Formulas = Annotated[
    bool,
    typer.Option("--formulas", help="Let text in a CSV be what a spreadsheet runs as a formula."),
]


@takes(*BATCH)
def export(
    settings: Settings,
    *,
    out: Out,
    batch: OneBatch = None,
    form: Form = "jsonl",
    state: States = None,
    status: Statuses = None,
    follow: Follow = False,
    formulas: Formulas = False,
) -> int:
    """Write results, a row a job in manifest order.

    From one snapshot. May be given at any time, also while workers work. A reader never sees
    half a file.
    """
    from runner.cli.opened import opened
    from runner.cli.words import many
    from runner.core.model import JobState

    known = [str(one) for one in JobState]
    _all_known(state or [], known, "--state")
    _all_known([form], FORMS, "--format")
    with opened(settings) as (runner, teller):
        rows = runner.export(
            batch_of(settings, batch),
            out,
            form=form,
            states=frozenset(map(JobState, state)) if state else None,
            statuses=frozenset(status) if status else None,
            follow=follow,
            formulas=formulas,
        )
        if not settings.quiet:
            place = "standard output" if out == "-" else out
            teller.say([f"{many(rows, 'row')} to {place}"], rows=rows)
    return 0


def _all_known(given: list[str], known: Sequence[str], where: str) -> None:
    for word in given:
        if word not in known:
            remedy = f"{nearest(word, known)}use {', '.join(known)}"
            raise UsageError(f"{quoted(word)} is not known", where=where, remedy=remedy)
