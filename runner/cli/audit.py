"""`runner audit`: does the API tell the same as the database?"""

from typing import Annotated

import typer

from runner.cli.given import AsJson, OneBatch, put
from runner.cli.options import API, BATCH, batch_of, takes
from runner.config import Settings

EXAMPLE = "runner audit sweep --base-url https://agents.example.org/v1"


Adopt = Annotated[
    bool,
    typer.Option("--adopt", help="Take a run that no row knew as that of its job without one."),
]
CancelDoubles = Annotated[
    bool, typer.Option("--cancel-doubles", help="Cancel active runs beside the jobs' own.")
]


@takes(*BATCH, *API, "read_rpm", "window", "concurrency")
def audit(
    settings: Settings,
    *,
    batch: OneBatch = None,
    as_json: AsJson = False,
    adopt: Adopt = False,
    cancel_doubles: CancelDoubles = False,
) -> int:
    """Compare a batch with the runs that the API has.

    Every thread of the batch is listed. Each job must have exactly one run a generation. Lost,
    double and foreign runs are listed; exit 1 on a finding, and where a thread could not be listed.
    """
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        name = batch_of(settings, batch)
        audited = runner.audit(name, adopt=adopt, cancel_doubles=cancel_doubles)
        put(*([audited.as_json()] if as_json else audited.lines()))
        return 0 if audited.clean else 1
