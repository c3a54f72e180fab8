"""Asking the server for the runs of every thread of a batch, and comparing: `runner audit`."""

from collections.abc import Callable, Iterator
from itertools import islice

import anyio
from anyio import to_thread
from msgspec import Struct

from runner.core.audit import (
    Audited,
    Finding,
    GenerationSeen,
    JobSeenOnThread,
    ThreadSeen,
    Trouble,
    compare,
    hides_doubles,
    standing,
)
from runner.core.call import Reply, Silence
from runner.core.model import JobState, Kind, Run
from runner.dialects.dialect import UnreadableError
from runner.http.sender import Failed, drive
from runner.store import audit as kept
from runner.store.store import Store
from runner.work.carried import Assignment

AT_ONCE = 32
CHUNK = 500
TRIES = 5


class AuditPolicy(Struct, frozen=True):
    """What an audit may change: nothing, unless asked. Seconds."""

    adopt: bool = False
    cancel_doubles: bool = False
    timeout_s: float = 60.0
    quiet_s: float = 15.0


async def audit(
    store: Store, assignment: Assignment, policy: AuditPolicy, tell: Callable[[str], None]
) -> Audited:
    """Return what does not agree between the server's lists and the store.

    Waits first until nothing of a closed attempt can arrive any more. What could not be asked whole
    counts as unproven.
    """
    result = Audited()
    progress = store.progress(assignment.batch.id)
    result.possible_doubles = progress.possible_doubles
    result.not_at_rest = progress.jobs - progress.at_rest
    if progress.doubts:
        tell(
            f"{progress.doubts} jobs are in doubt; waiting {policy.quiet_s:g} s until all is quiet"
        )
        await anyio.sleep(policy.quiet_s)
    threads = store.audit_threads(assignment.batch.id)
    while chunk := await to_thread.run_sync(_take, threads):
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as group:
            for thread in chunk:
                group.start_soon(_ask, store, assignment, thread, policy, result, limiter)
    await _mend(store, assignment, policy, result, tell)
    return result


def _take(threads: Iterator[kept.ThreadSeen]) -> list[kept.ThreadSeen]:
    return list(islice(threads, CHUNK))


def _seen(thread: kept.ThreadSeen) -> ThreadSeen:
    """Return a thread as the comparison takes it."""
    jobs = []
    for job in thread.jobs:
        runs = {run.generation: run for run in job.runs}
        generations = tuple(
            GenerationSeen(
                number,
                key,
                runs[number].run_id if number in runs else None,
                (runs[number].status or None) if number in runs else None,
            )
            for number, key in enumerate(job.keys, 1)
        )
        jobs.append(
            JobSeenOnThread(
                job.id,
                job.custom_id,
                job.state,
                job.status,
                job.own_thread,
                generations,
                frozenset(job.doubles) | frozenset(job.noted),
                job.closed_ms,
                under_way=job.state is JobState.SUBMITTING,
            )
        )
    return ThreadSeen(thread.thread_id or "", tuple(jobs))


async def _ask(
    store: Store,
    assignment: Assignment,
    thread: kept.ThreadSeen,
    policy: AuditPolicy,
    result: Audited,
    limiter: anyio.CapacityLimiter,
) -> None:
    async with limiter:
        result.jobs += len(thread.jobs)
        result.threads += 1
        runs = await runs_on(assignment, thread.thread_id or "", policy.timeout_s)
        if runs is None:
            result.unproven += len(thread.jobs)
            return
        result.runs += len(runs)
        tagged = assignment.proofs.tags and bool(assignment.tag.name)
        seen = _seen(thread)
        found = compare(seen, runs, tagged=tagged)
        hidden = hides_doubles(seen, runs, tagged=tagged)
        if found or hidden:
            now = _seen(await to_thread.run_sync(store.audit_again, thread))
            found = standing(found, compare(now, runs, tagged=tagged))
            under_way = any(job.under_way for job in now.jobs)
            hidden = hidden and not under_way and hides_doubles(now, runs, tagged=tagged)
        result.findings += found
        result.unproven += len(thread.jobs) if hidden else 0


async def runs_on(assignment: Assignment, thread_id: str, timeout_s: float) -> list[Run] | None:
    """List all runs of a thread, or None where the server would not say."""
    if not assignment.proofs.lists or not thread_id:
        return None
    for attempt in range(TRIES):
        flow = assignment.dialect.runs_of(thread_id, 0.0, assignment.tag)
        got = await drive(assignment.sender, flow, timeout_s=timeout_s, unreadable=UnreadableError)
        if not isinstance(got, Failed):
            return got
        answer = got.answer
        if isinstance(answer, Reply) and answer.status in (400, 401, 403, 404, 405):
            return None
        if isinstance(answer, Silence) or answer.status == 429 or answer.status >= 500:
            await anyio.sleep(0.2 * 2**attempt)
    return None


async def _mend(
    store: Store,
    assignment: Assignment,
    policy: AuditPolicy,
    result: Audited,
    tell: Callable[[str], None],
) -> None:
    """Take unknown runs for jobs that have none, and cancel younger doubles, where asked to."""
    for finding in result.findings:
        if policy.adopt and finding.kind is Trouble.UNKNOWN and finding.job_id and finding.runs:
            taken = store.adopt(finding.job_id, finding.generation, finding.runs[0])
            said = "adopted; `runner work` follows it" if taken else "not adopted: it has moved on"
            tell(f"job {finding.custom_id}: run {finding.runs[0]} {said}")
        if policy.cancel_doubles and finding.kind is Trouble.DOUBLE:
            await _cancel(assignment, finding, policy, tell)


async def _cancel(
    assignment: Assignment, finding: Finding, policy: AuditPolicy, tell: Callable[[str], None]
) -> None:
    runs = await runs_on(assignment, finding.thread_id, policy.timeout_s) or []
    active = {run.id: run for run in runs if run.kind in (Kind.ACTIVE, Kind.WAITS)}
    oldest = min(
        (run for run in runs if run.id in finding.runs),
        key=lambda run: (run.created_s, run.id),
        default=None,
    )
    for run_id in finding.runs:
        kept = oldest is not None and run_id == oldest.id
        if kept or run_id not in active or f"the row has {run_id}" in finding.text:
            continue
        flow = assignment.dialect.cancel(finding.thread_id, run_id, assignment.tag)
        got = await drive(
            assignment.sender, flow, timeout_s=policy.timeout_s, unreadable=UnreadableError
        )
        tell(
            f"run {run_id}: {'could not be cancelled' if isinstance(got, Failed) else 'cancelled'}"
        )
