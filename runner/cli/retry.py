"""`runner retry`: failed jobs back to queued."""

from typing import Annotated

import typer

from runner.cli.given import OneBatch, Only, at, put
from runner.cli.options import BATCH, batch_of, takes
from runner.config import Settings
from runner.core.errors import quoted

EXAMPLE = "runner retry sweep --status expired --status rejected"

Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status", metavar="STATUS", help="Only jobs of this status.", show_default=False
    ),
]
Codes = Annotated[
    list[str] | None,
    typer.Option(
        "--error-code", metavar="CODE", help="Only jobs with this error code.", show_default=False
    ),
]
InDoubt = Annotated[
    bool,
    typer.Option(
        "--even-in-doubt", help="Those too that ended in doubt: their runs may exist already."
    ),
]


@takes(*BATCH)
def retry(
    settings: Settings,
    *,
    batch: OneBatch = None,
    status: Statuses = None,
    error_code: Codes = None,
    only: Only = None,
    even_in_doubt: InDoubt = False,
) -> int:
    """Queue failed jobs again, their earlier runs kept.

    They become their next generation. Without a choice: all failed and cancelled jobs of the
    batch. One that succeeded is made anew only where --only names it.
    """
    from runner.cli.opened import opened
    from runner.cli.screen import word
    from runner.cli.words import jobs

    with opened(settings) as (runner, teller):
        name = runner.one(batch_of(settings, batch)).name
        done = runner.retry(
            name,
            statuses=frozenset(status or ()),
            codes=frozenset(error_code or ()),
            only=frozenset(only or ()),
            even_in_doubt=even_in_doubt,
        )
        put(f"{jobs(done.jobs)} of {name} queued again")
        for who in done.unknown:
            teller.warn(f"no job of {name} is named {quoted(who)}")
        if done.held_back_in_doubt:
            teller.warn(
                f"{jobs(done.held_back_in_doubt)} ended in doubt and stay: `runner audit "
                f"{word(name)}` finds their runs, --even-in-doubt sends them all the same"
            )
        if done.jobs and not settings.quiet:
            teller.say([f"next: runner work --batch {word(name)}{at(settings)}"])
    return 0
