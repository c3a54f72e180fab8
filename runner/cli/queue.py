"""`runner queue`: manifests into the database, nothing sent."""

from typing import Annotated

import typer

from runner.cli.given import Manifests, put, standard_input, working
from runner.cli.options import API, QUEUE, TALK, takes
from runner.config import Settings
from runner.core.errors import UsageError

EXAMPLE = (
    "runner queue nightly.jsonl.gz --batch nightly-2026-03-01\n"
    "  runner queue all.jsonl --from-results batch_output.jsonl --from-results batch_errors.jsonl"
)

FromResults = Annotated[
    list[str] | None,
    typer.Option(
        "--from-results",
        metavar="FILE",
        help="Leave out the jobs that ended well there: our own results (jsonl, batch, raw) or "
        "OpenAI Batch output and error files; may be given more than once.",
        show_default=False,
    ),
]


@takes(*TALK, *QUEUE, *API)
def queue(settings: Settings, manifests: Manifests, from_results: FromResults = None) -> int:
    """Queue manifests and send nothing.

    `runner work` sends. Reports new, known, conflicting, bad and vanished lines. Bad ones are
    written beside the manifest, to be mended and queued again.

    With --from-results only what failed elsewhere, or is missing there, is queued, by custom_id;
    what is known here already stays as it is. The same command again changes nothing; `runner run`
    of the manifest would queue the rest too.
    """
    from runner.cli.opened import opened
    from runner.cli.screen import queued_lines, word
    from runner.work.queueing import Telling

    results = from_results or []
    if "-" in results and "-" in manifests:
        raise UsageError(
            "standard input cannot be read twice", where="--from-results", remedy="give a file"
        )
    with opened(settings) as (runner, teller):
        # Read whole before anything is made: a line that is no result must queue nothing.
        elsewhere = runner.elsewhere(results, standard_input()) if results else None
        batch = runner.begin(manifests)
        queued = runner.queue(
            manifests,
            standard_input(),
            batch=batch,
            telling=Telling(teller.warn, queued=teller.counted),
            elsewhere=elsewhere,
        )
        teller.rest()
        put(f"batch {batch.name}", *queued_lines(queued))
        if elsewhere is not None:
            put(f"results: {elsewhere.well:,} ended well, {elsewhere.others:,} did not")
        if not settings.quiet:
            teller.say([f"next: runner work --batch {word(batch.name)}{working(settings)}"])
        return 1 if queued.faulty else 0
