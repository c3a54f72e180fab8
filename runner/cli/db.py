"""`runner db`: migrations, integrity, space, and moving a database."""

from typing import Annotated

import typer

from runner.cli.given import put
from runner.cli.options import BATCH, TALK, batch_of, takes
from runner.config import Settings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Upgrade, check, vacuum or copy the database.",
    epilog="Example: runner db check --db runner.db",
)

Target = Annotated[
    str, typer.Argument(metavar="PATH-or-URL", help="The database to copy to, of either kind.")
]


def _example(text: str) -> str:
    return f"\b\nExample:\n  runner db {text}"


@app.command(epilog=_example("upgrade --db postgresql://runner@db.example.org/runner"))
@takes(*TALK)
def upgrade(settings: Settings) -> int:
    """Bring the tables up to date; a SQLite file does so by itself when it is opened."""
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        put(runner.upgrade())
    return 0


@app.command(epilog=_example("check --db runner.db"))
@takes(*TALK)
def check(settings: Settings) -> int:
    """Look for damage, and for counts, outcomes and states that disagree; exit 1 on a finding."""
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        found = runner.check_database()
        put(*(found or ["sound"]))
        return 1 if found else 0


@app.command(epilog=_example("vacuum --db runner.db"))
@takes(*TALK)
def vacuum(settings: Settings) -> int:
    """Give unused space back to the file system."""
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        before, after = runner.vacuum()
        put(f"{before:,} bytes before, {after:,} after")
    return 0


@app.command(epilog=_example("copy postgresql://runner@db.example.org/runner --db runner.db"))
@takes(*BATCH)
def copy(settings: Settings, target: Target) -> int:
    """Copy a batch, or all there is, to another database; the same command again goes on.

    Counts and contents are compared at the end.
    """
    from runner.cli.opened import opened
    from runner.cli.words import jobs

    with opened(settings) as (runner, teller):
        done = runner.copy(target, batch_of(settings, None), teller.copied)
        teller.rest()
        there = f", {done.known:,} of them were there before" if done.known else ""
        what = "batch" if done.batches == 1 else "batches"
        put(f"copied: {done.batches:,} {what}, {jobs(done.jobs)}{there}")
    return 0
