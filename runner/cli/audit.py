"""`runner audit`: does the API tell the same as the database?"""

from runner.cli.given import AsJson, OneBatch, put
from runner.cli.options import API, BATCH, batch_of, takes
from runner.config import Settings

EXAMPLE = "runner audit sweep --base-url https://agents.example.org/v1"


@takes(*BATCH, *API, "read_rpm", "window", "concurrency")
def audit(settings: Settings, batch: OneBatch = None, as_json: AsJson = False) -> int:
    """Compare a batch with the runs that the API has.

    Every thread of the batch is listed. Each job must have exactly one run a generation. Lost,
    double and foreign runs are listed; exit 1 on a finding.
    """
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        audited = runner.audit(batch_of(settings, batch))
        put(*([audited.as_json()] if as_json else audited.lines()))
        return 1 if audited.findings else 0
