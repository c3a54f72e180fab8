"""`runner audit`: does the API tell the same as the database?"""

from runner.cli.given import AsJson, OneBatch
from runner.cli.options import API, BATCH, batch_of, takes
from runner.config import Settings

EXAMPLE = "runner audit sweep --base-url https://agents.example.org/v1"


@takes(*BATCH, *API, "read_rpm", "window", "concurrency")
def audit(settings: Settings, batch: OneBatch = None, as_json: AsJson = False) -> int:
    """Ask the API for the runs of every thread of the batch, and compare.

    Each job must have exactly one run a generation. Lost, double and foreign runs are listed;
    exit 1 on a finding.
    """
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        audited = runner.audit(batch_of(settings, batch))
        print(audited.as_json() if as_json else "\n".join(audited.lines()))
        return 1 if audited.findings else 0
