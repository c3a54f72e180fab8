"""`runner probe`: what can this server prove?"""

from typing import Annotated

import typer

from runner.cli.given import AsJson, put
from runner.cli.options import API, TALK, takes
from runner.config import Settings

EXAMPLE = "runner probe --base-url https://agents.example.org/v1 --assistant-id asst_1"

Assistant = Annotated[
    str | None,
    typer.Option(
        "--assistant-id",
        metavar="ID",
        show_default=False,
        help="The assistant that the throw-away runs are made with.",
    ),
]


@takes(*TALK, *API)
def probe(settings: Settings, assistant_id: Assistant = None, as_json: AsJson = False) -> int:
    """Ask a server what it can prove.

    By one or two throw-away runs: tag echoed, runs listed by thread, key honoured, one active
    run a thread, headers, lag. What is found is remembered in the database and used from then
    on.
    """
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        probed = runner.probe(assistant_id)
        put(*([probed.as_json()] if as_json else probed.lines()))
    return 0
