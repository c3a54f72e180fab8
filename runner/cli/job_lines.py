"""One job with all that is known of it, as lines and as JSON. Pure."""

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import fields

from runner.cli.words import many, moment, shown, span
from runner.core.model import ApiError, Usage

if TYPE_CHECKING:
    from runner.store.find import AttemptSeen, Found, JobSeen, OutcomeSeen

LONGEST_BODY = 4000
"""As many characters of a request or a run are shown in the text; --as json has them whole."""


def job_lines(found: "Found") -> list[str]:
    """Return a job for people: where it stands, its request, every attempt, every run."""
    job = found.job
    status = f", {shown(job.status)}" if job.status else ""
    tried = f"generation {job.generation}, {many(job.attempt, 'attempt')}"
    own = ", of its own" if job.own_thread else ""
    lines = [
        f"job {shown(job.custom_id, 100)} of batch {shown(found.batch, 60)}",
        f"from {shown(job.source)}:{job.line}",
        f"{job.state}{status}, {tried}",
        f"dialect {found.dialect} at {shown(found.base_url)}",
        f"thread {shown(job.thread_id or 'not made yet')}{own}",
        f"key {job.key}",
        f"run {shown(job.run_id or 'none')}",
        f"queued {moment(job.queued_ms)}, sent {moment(job.intent_ms)}",
        f"created {moment(job.created_ms)}, ended {moment(job.ended_ms)}",
        *_standing(job),
        "",
        "request",
        f"  {_cut(job.body)}",
    ]
    if job.extra:
        lines.append(f"  beside it: {_cut(job.extra)}")
    if job.attempts:
        lines += ["", "attempts", *(f"  {attempt_line(seen)}" for seen in job.attempts)]
    for outcome in job.outcomes:
        lines += ["", *_outcome_lines(outcome)]
    return lines


def _standing(job: "JobSeen") -> list[str]:
    told = [
        (job.blocked, "waits: another job of its thread has the turn"),
        (bool(job.blocked_by), f"waits for another's run {shown(job.blocked_by or '')}"),
        (job.waits_ms > 0, f"not sent again for {span(job.waits_ms / 1000)} more"),
        (job.doubted, "was in doubt: it is looked for before each send"),
        (job.possible_double, "may have run twice: sent again after an unsettled doubt"),
        (job.cancel_asked, "is being cancelled"),
        (bool(job.worker), f"held by worker {job.worker}"),
    ]
    return [line for holds, line in told if holds]


def attempt_line(seen: "AttemptSeen") -> str:
    """Return one try: when, what came of it, and the server's name for the exchange."""
    took = f" after {span((seen.closed_ms - seen.intent_ms) / 1000)}" if seen.closed_ms else ""
    parts = [f"{seen.generation}.{seen.attempt} {moment(seen.intent_ms)}: {seen.why}{took}"]
    if seen.http_status:
        parts.append(f"HTTP {seen.http_status}")
    if seen.request_id:
        parts.append(f"request {shown(seen.request_id, 80)}")
    if seen.run_id:
        parts.append(f"run {shown(seen.run_id, 80)}")
    if seen.lateness_ms:
        parts.append(f"{span(seen.lateness_ms / 1000)} late")
    parts += [text for text in (_error(seen.error), shown(seen.detail)) if text]
    return ", ".join(parts)


def _outcome_lines(outcome: "OutcomeSeen") -> list[str]:
    run = f"run {shown(outcome.run_id or 'none')}, ended {moment(outcome.ended_ms)}"
    lines = [f"generation {outcome.generation}: {shown(outcome.status)}, {run}"]
    if outcome.error is not None:
        lines.append(f"  error: {_error(outcome.error)}")
    if outcome.usage is not None:
        lines.append(f"  tokens: {outcome.usage.total:,}")
    if outcome.output_text:
        lines.append(f"  answer: {shown(outcome.output_text, LONGEST_BODY)}")
    if outcome.run is not None:
        lines.append(f"  run: {_cut(outcome.run)}")
    return lines


def _error(error: ApiError | None) -> str:
    if error is None:
        return ""
    return ": ".join(shown(part) for part in (error.type, error.code, error.message) if part)


def _cut(raw: bytes) -> str:
    return shown(raw.decode("utf-8", "replace"), LONGEST_BODY)


def job_json(found: "Found") -> str:
    """Return a job as one line of JSON; request and runs are the bytes that were kept."""
    job = found.job
    told = {
        "batch": found.batch,
        "dialect": found.dialect,
        "base_url": found.base_url,
        **{f.name: getattr(job, f.name) for f in fields(job) if f.name not in _APART},
        "request": _raw(job.body),
        "beside": _raw(job.extra),
        "attempts": [{**_all(seen), "error": _spelt(seen.error)} for seen in job.attempts],
        "outcomes": [_outcome(outcome) for outcome in job.outcomes],
    }
    return msgspec.json.encode(told).decode()


_APART = frozenset({"body", "extra", "attempts", "outcomes"})


def _outcome(outcome: "OutcomeSeen") -> dict[str, object]:
    return {
        **_all(outcome),
        "error": _spelt(outcome.error),
        "usage": _used(outcome.usage),
        "run": _raw(outcome.run),
        "messages": _raw(outcome.messages),
        "steps": _raw(outcome.steps),
    }


def _all(seen: "AttemptSeen | OutcomeSeen") -> dict[str, object]:
    return {f.name: getattr(seen, f.name) for f in fields(seen)}


def _spelt(error: ApiError | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {"type": error.type, "code": error.code, "message": error.message}


def _used(usage: Usage | None) -> dict[str, int] | None:
    return None if usage is None else msgspec.structs.asdict(usage)


def _raw(kept: bytes | None) -> msgspec.Raw | None:
    return msgspec.Raw(kept) if kept else None
