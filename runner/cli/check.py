"""`runner check`: every bad line, and what running the good ones would ask for."""

from functools import partial

from runner.cli.given import Manifests, put, standard_input
from runner.cli.options import API, LINES, TALK, takes
from runner.config import Settings

EXAMPLE = "runner check sweep.jsonl --dialect azure --rpm 600"


@takes(*TALK, *API, *LINES, "on_doubt", "doubt_wait", "rpm", "tpm", "window", "concurrency")
def check(settings: Settings, manifests: Manifests) -> int:
    """Validate manifests; nothing is written, nothing is sent.

    Every bad line is told as FILE:LINE: field: what is wrong. Then: how many jobs, what the server
    can prove, how long it takes at the limits.
    """
    from runner.cli.forecast import forecast
    from runner.cli.opened import opened

    with opened(settings) as (runner, _teller):
        checked = runner.check(manifests, standard_input(), partial(put, flush=False))
        put(*forecast(checked, settings))
        return 1 if checked.bad else 0
