"""Where the work stands and how it ended, as lines and as JSON. Pure: no stream, no clock.

Both are drawn from the one snapshot that the app hands out, so that they cannot disagree.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from runner.cli.words import columns, jobs, many, moment, pace, shown, span
from runner.core.batch import Count, Queued
from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.core.progress import BudgetUse, Progress
from runner.core.view import View

if TYPE_CHECKING:
    from runner.carrying import Carried

UNSETTLED = frozenset({"in_doubt", "run_lost"})
"""Failures that another run does not mend: whether there was one is what must be found out."""
TABLE_MOST = 50
"""As many results at most are shown at the end of a run without --out."""


class Ways(Struct, frozen=True):
    """What a person types next. `again` is the command just given; `at` names the database.

    `at` is " --db X" where X must be said again, else "". `out` is where results went, or None.
    """

    again: str
    at: str = ""
    out: str | None = None


# While it goes on


def progress_line(view: View, width: int) -> str:
    """Return one line of at most `width` characters; what matters less is left out first."""
    progress = view.progress
    total = f"{progress.jobs:,}" + ("" if progress.queued_whole else "+")
    line = f"{shown(progress.batch, 30)}: {progress.at_rest:,}/{total} done"
    for part in _parts(view):
        if len(line) + 2 + len(part) > width:
            break
        line = f"{line}, {part}"
    return line[:width]


def _parts(view: View) -> Iterable[str]:
    progress = view.progress
    failed = progress.of(JobState.FAILED)
    if failed:
        yield f"{failed:,} failed ({_by_status(progress.counts, JobState.FAILED)})"
    if view.rate_s > 0:
        yield pace(view.rate_s)
    if view.left_s:
        yield f"{span(view.left_s)} left"
    if view.limits:
        yield f"limited by {_limit(view)}"
    for state in (JobState.RUNNING, JobState.SUBMITTING, JobState.QUEUED, JobState.CANCELLED):
        if progress.of(state):
            yield f"{progress.of(state):,} {state}"
    yield span(view.elapsed_s)


def _limit(view: View) -> str:
    known = view.limits == "concurrency" and view.ceiling is not None
    return f"concurrency ({view.ceiling})" if known else view.limits


def _by_status(counts: Sequence[Count], state: JobState) -> str:
    sums: Counter[str] = Counter()
    for count in counts:
        if count.state is state:
            sums[count.status] += count.jobs
    more = f", {len(sums) - 4} more kinds" if len(sums) > 4 else ""
    return ", ".join(f"{shown(status, 30)} {n:,}" for status, n in sums.most_common(4)) + more


def together(views: Sequence[View]) -> View:
    """Return several batches' views as one; the pool's own figures are those of the last."""
    if len(views) == 1:
        return views[0]
    parts = [view.progress for view in views]
    counts = tuple(count for part in parts for count in part.counts)
    whole = replace(
        parts[0],
        batch=f"{len(parts)} batches",
        counts=counts,
        queued_whole=all(part.queued_whole for part in parts),
    )
    rate = sum(view.rate_s for view in views)
    left = whole.jobs - whole.at_rest
    last = max(views, key=lambda view: view.elapsed_s)
    return replace(last, progress=whole, rate_s=rate, left_s=left / rate if rate > 0 else None)


# At the end


def summary(carried: "Carried", ways: Ways) -> list[str]:
    """Return how the work ended, and what to type next.

    The counts of a batch's table are those of its export's rows: both are jobs at rest, by state
    and status.
    """
    lines = [headline(carried)]
    if carried.queued is not None:
        lines += queued_lines(carried.queued)
    for progress in carried.batches:
        lines += _table(progress, named=len(carried.batches) > 1)
        lines += _troubles(progress)
        lines += _tokens(progress)
    if carried.rows is not None and ways.out not in (None, "-"):
        lines.append(f"results: {ways.out}, {many(carried.rows, 'row')}")
    return [*lines, *next_steps(carried, ways)]


def headline(carried: "Carried") -> str:
    """Return the end in one line: "interrupted: n done, m left" where it is none."""
    done = sum(progress.at_rest for progress in carried.batches)
    left = sum(progress.jobs for progress in carried.batches) - done
    if carried.ending.stopped:
        why = shown(carried.ending.stopped, 300)
        return f"{why}: {done:,} done, {left:,} left, after {span(carried.elapsed_s)}"
    name = shown(carried.batches[0].batch, 60) if len(carried.batches) == 1 else "all batches"
    if left:
        return f"{name}: {done:,} done, {left:,} left, after {span(carried.elapsed_s)}"
    if _was_complete(carried):
        return f"{name}: already complete: {jobs(done)}, nothing was sent"
    return f"{name}: {jobs(done)} done in {span(carried.elapsed_s)}{_rate(carried)}"


def _was_complete(carried: "Carried") -> bool:
    ended_ms = max((progress.last_ms for progress in carried.batches), default=0)
    return bool(carried.batches) and 0 < ended_ms < carried.began_ms


def _rate(carried: "Carried") -> str:
    """Return the pace, where all of the jobs were this command's."""
    done = sum(progress.at_rest for progress in carried.batches)
    mine = all(progress.first_ms >= carried.began_ms for progress in carried.batches)
    return f", {pace(done / carried.elapsed_s)}" if mine and done and carried.elapsed_s else ""


def queued_lines(queued: Queued) -> list[str]:
    """Return what queueing came to."""
    if queued.unchanged:
        return [f"queued: {queued.known:,} known, the manifest is unchanged"]
    parts = [f"{queued.new:,} new", f"{queued.known:,} known"]
    for count, word in (
        (queued.replaced, "replaced"),
        (queued.conflicts, "in conflict (nothing changed)"),
        (queued.bad, "bad"),
        (queued.elsewhere, "ended well elsewhere (not queued)"),
        (queued.vanished, "gone from the manifest (their jobs stay)"),
    ):
        if count:
            parts.append(f"{count:,} {word}")
    lines = [f"queued: {', '.join(parts)}"]
    if queued.vanished_names:
        names = ", ".join(shown(name, 60) for name in queued.vanished_names)
        more = ", …" if queued.vanished > len(queued.vanished_names) else ""
        lines.append(f"gone: {names}{more}")
    return lines


def _table(progress: Progress, *, named: bool) -> list[str]:
    rows = [("state", "status", "jobs")]
    rows += [
        (str(count.state), shown(count.status, 40) or "-", f"{count.jobs:,}")
        for count in progress.counts
        if count.jobs
    ]
    rows.append(("all", "", f"{progress.jobs:,}"))
    head = [f"batch {shown(progress.batch, 60)}"] if named else []
    return head + [f"  {line}" for line in columns(rows, right=frozenset({2}))]


def _troubles(progress: Progress) -> list[str]:
    lines = []
    if progress.causes:
        lines.append("failures by cause")
        lines += [f"  {line}" for line in cause_lines(progress)]
    for count, text in (
        (progress.doubts, "in doubt still: a create was sent and its answer never came"),
        (progress.possible_doubles, "sent again after a doubt that nothing could settle"),
    ):
        if count:
            lines.append(f"{jobs(count)} {text}")
    if progress.doubles:
        lines.append(
            f"{many(progress.doubles, 'run')} beside the jobs' own: `doubles` in the export"
        )
    for custom_id, run_id in progress.blocked_by:
        lines.append(
            f"{shown(custom_id, 60)} waits for another's run {shown(run_id, 60)} on its thread"
        )
    return lines + _lateness(progress)


def _lateness(progress: Progress) -> list[str]:
    if not progress.lateness_ms:
        return []
    late = span(progress.lateness_ms / 1000)
    found = f"greatest lateness: a run appeared {late} after its create was given up"
    return [f"{found}; --doubt-wait must be longer than that"]


def cause_lines(progress: Progress) -> list[str]:
    """Return the failures by cause, each with its count."""
    rows = []
    for cause in progress.causes:
        spelt = [shown(cause.status, 40)]
        if cause.code and cause.code != cause.status:
            spelt.append(shown(cause.code, 60))
        if cause.message:
            spelt.append(shown(cause.message, 160))
        rows.append((f"{cause.jobs:,}", ": ".join(spelt)))
    return columns(rows, right=frozenset({0}))


def _tokens(progress: Progress) -> list[str]:
    told = progress.tokens
    if not told.get("total") and not progress.earlier_tokens:
        return []
    line = (
        f"tokens: {told.get('total', 0):,} ({told.get('prompt', 0):,} prompt, of them "
        f"{told.get('cached', 0):,} cached; {told.get('completion', 0):,} completion, of them "
        f"{told.get('reasoning', 0):,} reasoning)"
    )
    earlier = (
        f", and {progress.earlier_tokens:,} of earlier runs" if progress.earlier_tokens else ""
    )
    return [line + earlier]


def next_steps(carried: "Carried", ways: Ways) -> list[str]:
    """Return the exact commands to go on with, each in a line of its own."""
    lines = []
    if carried.ending.stopped and carried.ending.remedy:
        lines.append(f"to do: {shown(carried.ending.remedy, 300)}")
    if carried.ending.stopped or not all(progress.whole for progress in carried.batches):
        lines.append(f"go on: {ways.again}")
    for progress in carried.batches:
        lines += _repairs(progress, ways)
        if ways.out is None and progress.at_rest:
            lines.append(f"results: runner export {word(progress.batch)}{ways.at} --out FILE")
    return lines


def _repairs(progress: Progress, ways: Ways) -> list[str]:
    lines = []
    failed = [c.status for c in progress.counts if c.state is JobState.FAILED and c.jobs]
    again = sorted(set(failed) - UNSETTLED)
    if again:
        flags = " ".join(f"--status {word(status)}" for status in again)
        lines.append(f"try them again: runner retry {word(progress.batch)}{ways.at} {flags}")
        lines.append(f"then: {ways.again}")
    if UNSETTLED.intersection(failed):
        lines.append(f"find out: runner audit {word(progress.batch)}{ways.at}")
    return lines


def word(text: str) -> str:
    """Return a text as one word of a shell."""
    import shlex

    return shlex.quote(text)


def results(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a small batch's results as a table: who, how, tokens, seconds, and what was said."""
    rows = [("custom_id", "status", "tokens", "seconds", "answer")]
    rows += [_result(outcome) for outcome in outcomes]
    return columns(rows, right=frozenset({2, 3}))


def _result(outcome: Outcome) -> tuple[str, str, str, str, str]:
    took = (outcome.ended_ms - outcome.created_ms) / 1000 if outcome.created_ms else None
    return (
        shown(outcome.custom_id, 40),
        shown(outcome.status or str(outcome.state), 20),
        "-" if outcome.usage is None else f"{outcome.usage.total:,}",
        "-" if took is None or not outcome.ended_ms else f"{max(took, 0.0):.1f}",
        shown(_said(outcome), 60),
    )


def _said(outcome: Outcome) -> str:
    if outcome.state is not JobState.SUCCEEDED and outcome.error is not None:
        return outcome.error.message or outcome.error.code or ""
    return outcome.output_text or outcome.run_id or ""


# status


def status_lines(progress: Progress, *, workers: bool = False) -> list[str]:
    """Return where a batch stands, for people."""
    name = shown(progress.batch, 60)
    place = f"{shown(progress.dialect)}, {shown(progress.base_url)}"
    lines = [f"batch {name}: {progress.at_rest:,}/{progress.jobs:,} done ({place})"]
    if progress.stopped:
        lines.append(f"stopped: {shown(progress.stopped, 300)}")
    if not progress.queued_whole:
        lines.append("its manifest is not queued whole yet")
    lines += _table(progress, named=False)
    lines += _times(progress)
    lines += [budget_line(use) for use in progress.budgets]
    lines += _troubles(progress)
    lines += _tokens(progress)
    return lines + (worker_lines(progress) if workers else [])


def average_s(progress: Progress) -> float:
    """Return the jobs a second from the first intent to the last end; 0 where that is not known."""
    took_s = (progress.last_ms - progress.first_ms) / 1000
    return progress.at_rest / took_s if progress.first_ms and took_s > 0 else 0.0


def _times(progress: Progress) -> list[str]:
    if not progress.first_ms:
        return []
    rate = average_s(progress)
    line = f"first sent {moment(progress.first_ms)}, last end {moment(progress.last_ms)}"
    if rate > 0:
        line += f", {pace(rate)} on average"
        if not progress.whole:
            line += f", {span((progress.jobs - progress.at_rest) / rate)} left at that pace"
    return [line]


def budget_line(use: BudgetUse) -> str:
    """Return a budget's use: "creates: 57 of 60 in the last 60 s (flag)"."""
    if use.limit is None:
        line = f"{use.kind}: {use.used:,.0f}, no limit known"
    else:
        window = f" in {span(use.window_s)}" if use.window_s else ""
        line = f"{use.kind}: {use.used:,.0f} of {use.limit:,.0f}{window} ({use.source})"
    if use.shut_s > 0:
        line += f", shut for {span(use.shut_s)} more" + (f": {shown(use.why)}" if use.why else "")
    return line + (", searching for the limit" if use.searching else "")


def worker_lines(progress: Progress) -> list[str]:
    """Return the workers that the database knows, with what they hold."""
    if not progress.workers:
        return ["no workers"]
    rows = [("worker", "host", "pid", "version", "holds", "silent", "since")]
    rows += [
        (
            seen.id,
            shown(seen.host, 40),
            str(seen.pid),
            shown(seen.version, 20),
            f"{seen.holds:,}",
            span(seen.silent_s),
            moment(seen.started_ms),
        )
        for seen in progress.workers
    ]
    return columns(rows, right=frozenset({2, 4, 5}))


def as_json(progress: Progress) -> str:
    """Return where a batch stands as one line of JSON; fields may be added."""
    return json.dumps(mapping(progress))


def mapping(progress: Progress) -> dict[str, object]:
    """Return where a batch stands as JSON's values. Times are UTC, null = never."""
    return {
        "batch": progress.batch,
        "dialect": progress.dialect,
        "base_url": progress.base_url,
        "jobs": progress.jobs,
        "at_rest": progress.at_rest,
        "whole": progress.whole,
        "states": {str(state): progress.of(state) for state in JobState},
        "counts": [
            {"state": str(c.state), "status": c.status or None, "jobs": c.jobs}
            for c in progress.counts
            if c.jobs
        ],
        "causes": [
            {"status": c.status, "code": c.code, "message": c.message, "jobs": c.jobs}
            for c in progress.causes
        ],
        "doubts": progress.doubts,
        "blocked_by": [{"custom_id": who, "run_id": run} for who, run in progress.blocked_by],
        "possible_doubles": progress.possible_doubles,
        "doubles": progress.doubles,
        "tokens": dict(progress.tokens),
        "earlier_tokens": progress.earlier_tokens,
        "first_at": _iso(progress.first_ms),
        "last_at": _iso(progress.last_ms),
        "jobs_per_s": round(average_s(progress), 3),
        "lateness_ms": progress.lateness_ms,
        "stopped": progress.stopped or None,
        "queued_whole": progress.queued_whole,
        "budgets": [_budget(use) for use in progress.budgets],
        "workers": [
            {
                "id": w.id,
                "host": w.host,
                "pid": w.pid,
                "version": w.version,
                "holds": w.holds,
                "silent_s": round(w.silent_s, 3),
                "started_at": _iso(w.started_ms),
            }
            for w in progress.workers
        ],
    }


def _budget(use: BudgetUse) -> Mapping[str, object]:
    return {
        "kind": use.kind,
        "limit": use.limit,
        "window_s": use.window_s,
        "source": use.source,
        "used": use.used,
        "shut_s": use.shut_s,
        "why": use.why or None,
        "searching": use.searching,
    }


def _iso(unix_ms: int) -> str | None:
    if unix_ms <= 0:
        return None
    stamp = datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def as_mapping(view: View) -> dict[str, object]:
    """Return a view as the fields of a --log-json line."""
    progress = view.progress
    return {
        "batch": progress.batch,
        "jobs": progress.jobs,
        "at_rest": progress.at_rest,
        "states": {str(state): progress.of(state) for state in JobState},
        "failed": {
            c.status: c.jobs for c in progress.counts if c.state is JobState.FAILED and c.jobs
        },
        "in_flight": view.in_flight,
        "ceiling": view.ceiling,
        "jobs_per_s": round(view.rate_s, 3),
        "left_s": None if view.left_s is None else round(view.left_s, 1),
        "limits": view.limits or None,
        "elapsed_s": round(view.elapsed_s, 1),
    }
