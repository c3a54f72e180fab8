"""What `runner check` says of the good lines: how many, what can be proven, how long. Pure."""

from typing import TYPE_CHECKING

from runner.cli.words import jobs, many, shown, span
from runner.config import Settings
from runner.core.model import Proofs

if TYPE_CHECKING:
    from runner.app import Checked


def forecast(checked: "Checked", settings: Settings) -> list[str]:
    """Return the counts, the proofs, and the time at the limits."""
    bad = f", {many(checked.bad, 'bad line')}" if checked.bad else ", no bad lines"
    threads = f" on {many(checked.threads, 'thread')} of their own" if checked.threads else ""
    lines = [f"{jobs(checked.good)}{threads}{bad}"]
    if len(checked.lanes) > 1:
        lines.append(f"by assistant and model: {_lanes(checked.lanes)}")
    base = shown(checked.base_url) if checked.base_url else "no base URL yet: give --base-url"
    lines.append(f"{checked.dialect} at {base}")
    lines.append(proofs_line(checked.proofs, resend=checked.resend, wait_s=settings.doubt_wait))
    return [*lines, _time_line(checked.good, settings)]


def _lanes(lanes: dict[str, int]) -> str:
    largest = sorted(lanes.items(), key=lambda lane: (-lane[1], lane[0]))[:5]
    told = ", ".join(f"{shown(name, 60) or '(none named)'} {count:,}" for name, count in largest)
    return told + (f", {len(lanes) - 5} more" if len(lanes) > 5 else "")


def proofs_line(proofs: Proofs, *, resend: bool, wait_s: float) -> str:
    """Return what a server can prove after a doubt, and what is done for it."""
    able = [
        word
        for can, word in (
            (proofs.keys, "honour idempotency keys"),
            (proofs.lists, "list a thread's runs"),
            (proofs.tags, "echo our tag"),
            (proofs.locks, "admit one run a thread"),
        )
        if can
    ]
    can = f"this server can {', '.join(able)}" if able else "this server can prove nothing"
    held = "held as in_doubt (--on-doubt resend sends it again)"
    if proofs.at_end and not resend:
        then = f"after a doubt the run is looked for; not found, the job is {held}"
    elif proofs.lists and proofs.tags and not proofs.at_end:
        then = f"after a doubt the run is looked for, and sent again after {span(wait_s)}"
    elif proofs.keys:
        then = "after a doubt the create is sent again under the same key"
    elif resend:
        then = "after a doubt the create is sent again: it may run twice"
    else:
        then = f"after a doubt the job is {held}"
    return f"{can}; {then}; doubt wait {wait_s:g} s"


def _time_line(count: int, settings: Settings) -> str:
    if settings.rpm:
        return f"at {settings.rpm:g} creates a minute: {span(count / settings.rpm * 60)} or more"
    return "how long: no limit is given (--rpm); one is learned from the API's headers"
