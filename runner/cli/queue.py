"""`runner queue`: manifests into the database, nothing sent."""

from runner.cli.given import Manifests, put, standard_input, working
from runner.cli.options import API, QUEUE, TALK, takes
from runner.config import Settings

EXAMPLE = "runner queue nightly.jsonl.gz --batch nightly-2026-03-01"


@takes(*TALK, *QUEUE, *API)
def queue(settings: Settings, manifests: Manifests) -> int:
    """Queue manifests and send nothing.

    `runner work` sends. Reports new, known, conflicting, bad and vanished lines. Bad ones are
    written beside the manifest, to be mended and queued again.
    """
    from runner.cli.opened import opened
    from runner.cli.screen import queued_lines, word
    from runner.work.queueing import Telling

    with opened(settings) as (runner, teller):
        batch = runner.begin(manifests)
        queued = runner.queue(
            manifests,
            standard_input(),
            batch=batch,
            telling=Telling(teller.warn, queued=teller.counted),
        )
        teller.rest()
        put(f"batch {batch.name}", *queued_lines(queued))
        if not settings.quiet:
            teller.say([f"next: runner work --batch {word(batch.name)}{working(settings)}"])
        return 1 if queued.faulty else 0
