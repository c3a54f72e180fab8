"""`runner work`: carry what is queued."""

from typing import Annotated

import typer

from runner.cli.given import again, at
from runner.cli.options import API, BATCH, WORK, takes
from runner.config import Settings

EXAMPLE = "runner work --db postgresql://runner@db.example.org/runner --forever"

Forever = Annotated[
    bool, typer.Option("--forever", help="Go on when all is at rest, and wait for more jobs.")
]


@takes(*BATCH, *API, *WORK)
def work(settings: Settings, forever: Forever = False) -> int:
    """Work on what is queued until all is at rest.

    Jobs that other workers hold are waited for. Any number of these may share one database.
    Without --batch all batches are worked on.
    """
    from runner.cli.opened import opened
    from runner.cli.run import finish
    from runner.cli.screen import Ways

    with opened(settings) as (runner, teller):
        carried = runner.work(settings.batch, forever=forever)
        if not settings.child:
            finish(runner, teller, carried, Ways(again(), at(settings)))
        return carried.exit_code
