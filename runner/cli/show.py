"""`runner show`: one job, or its request as a snippet."""

from typing import Annotated

import typer

from runner.cli.given import completing, put
from runner.cli.options import API, BATCH, batch_of, takes
from runner.cli.snippets import FORMS, snippet
from runner.config import Settings, nearest
from runner.core.errors import UsageError, quoted

EXAMPLE = "runner show row-17 --batch sweep --as curl"
ALL_FORMS = ("text", "json", *FORMS)

CustomId = Annotated[str, typer.Argument(metavar="CUSTOM_ID", help="The job's custom_id.")]
As = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="|".join(ALL_FORMS),
        help="The form; the last three are the request to paste, the key left out.",
        autocompletion=completing(ALL_FORMS),
    ),
]


@takes(*BATCH, *API)
def show(settings: Settings, custom_id: CustomId, form: As = "text") -> int:
    """Show one job with every attempt, or its request to paste.

    Each attempt with its time, answer and request id; the run as the API sent it.
    """
    from runner.cli.opened import opened

    if form not in ALL_FORMS:
        remedy = f"{nearest(form, ALL_FORMS)}use {', '.join(ALL_FORMS)}"
        raise UsageError(f"{quoted(form)} is not known", where="--as", remedy=remedy)
    batch = batch_of(settings, None)
    with opened(settings) as (runner, _teller):
        if form in FORMS:
            asked = runner.snippet(custom_id, batch)
            put(snippet(form, asked.call, asked.base_url, asked.key, asked.variable))
            return 0
        from runner.cli.job_lines import job_json, job_lines

        for number, found in enumerate(runner.show(custom_id, batch)):
            if form == "json":
                put(job_json(found))
            else:
                put(*([""] if number else []), *job_lines(found))
    return 0
