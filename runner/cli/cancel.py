"""`runner cancel`: end jobs."""

from runner.cli.given import OneBatch, Only, at, put
from runner.cli.options import BATCH, batch_of, takes
from runner.config import Settings
from runner.core.errors import quoted

EXAMPLE = "runner cancel sweep --only row-17"


@takes(*BATCH)
def cancel(settings: Settings, batch: OneBatch = None, only: Only = None) -> int:
    """Cancel jobs, running ones at the API.

    Queued ones end at once; running ones are cancelled by a worker. A run that completes while
    it is being cancelled is completed.
    """
    from runner.cli.opened import opened
    from runner.cli.screen import word
    from runner.cli.words import jobs

    with opened(settings) as (runner, teller):
        name = runner.one(batch_of(settings, batch)).name
        done = runner.cancel(name, only=frozenset(only or ()))
        put(f"{jobs(done.ended)} of {name} cancelled, {jobs(done.asked)} being cancelled")
        for who in done.unknown:
            teller.warn(f"no job of {name} is named {quoted(who)}")
        if done.asked and not settings.quiet:
            again = f"runner work --batch {word(name)}{at(settings)}"
            teller.say([f"a worker cancels them at the API; where none is at work: {again}"])
    return 0
