"""Comparing what the server lists with what the store knows: the proof of exactly one, pure.

For each thread of a batch the server's runs and the store's jobs come together; what does not
agree is a finding (protocol.md 8). What could not be asked is counted as unproven, never as good.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct, field

from runner.core.keys import part_of
from runner.core.model import JobState, Kind, Run


class Trouble(StrEnum):
    """What is wrong."""

    LOST = "lost"
    DOUBLE = "double"
    GONE = "gone"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    ACTIVE = "active"
    DENIED = "denied"


class GenerationSeen(Struct, frozen=True):
    """One generation of a job as the store knows it: its key, and its run where one is known."""

    generation: int
    key: str
    run_id: str | None
    status: str | None


class JobSeenOnThread(Struct, frozen=True):
    """A job of the thread. `noted` are run ids that evidence names (doubles, late answers).

    `under_way`: a create of it is not settled. Who works on it, or does next, finds its run.
    """

    job_id: int
    custom_id: str
    state: JobState
    status: str | None
    own_thread: bool
    generations: tuple[GenerationSeen, ...]
    noted: frozenset[str] = frozenset()
    closed_ms: int = 0
    under_way: bool = False


class ThreadSeen(Struct, frozen=True):
    """A thread of the batch and its jobs in manifest order."""

    thread_id: str
    jobs: tuple[JobSeenOnThread, ...]


class Finding(Struct, frozen=True):
    """One thing that does not agree: of which job (""= none of ours), and the runs concerned."""

    kind: Trouble
    thread_id: str
    custom_id: str
    generation: int
    runs: tuple[str, ...]
    text: str
    job_id: int = 0


class Audited(Struct):
    """What an audit came to; `unproven` counts jobs whose thread could not be asked whole."""

    jobs: int = 0
    threads: int = 0
    runs: int = 0
    unproven: int = 0
    not_at_rest: int = 0
    possible_doubles: int = 0
    findings: list[Finding] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the verdict for people, a finding a line."""
        told = [
            f"{f.kind}: thread {f.thread_id}"
            + (f", job {f.custom_id}" if f.custom_id else "")
            + f": {f.text} ({', '.join(f.runs)})"
            for f in self.findings
        ]
        told.append(
            f"{self.jobs} jobs on {self.threads} threads, {self.runs} runs on the server: "
            + (
                f"{len(self.findings)} findings"
                if self.findings
                else "no findings"
                if self.unproven
                else "each job its run, no more"
            )
        )
        if self.unproven:
            told.append(
                f"{self.unproven} jobs unproven: the server would not list their threads, or lists "
                "runs there that nothing tells apart from theirs"
            )
        if self.possible_doubles:
            told.append(
                f"{self.possible_doubles} jobs were sent again after a doubt: possible doubles"
            )
        if self.not_at_rest:
            told.append(f"{self.not_at_rest} jobs are not at rest yet")
        return told

    def as_json(self) -> str:
        """Return the verdict as one JSON object."""
        return msgspec.json.encode(self).decode()

    @property
    def clean(self) -> bool:
        """Whether nothing was found and everything could be asked."""
        return not self.findings and not self.unproven


def compare(thread: ThreadSeen, runs: Sequence[Run], *, tagged: bool) -> list[Finding]:
    """Return what does not agree between a thread's jobs and its runs on the server.

    `tagged`: whether the server keeps our tag. Without it runs are matched by the ids that the
    store knows, and any further run on a thread made for one job alone is that job's double.
    """
    by_id = {run.id: run for run in runs}
    findings: list[Finding] = []
    claimed: set[str] = set()
    for job in thread.jobs:
        known = {g.run_id for g in job.generations if g.run_id}
        claimed |= known | job.noted
        for generation in job.generations:
            findings += _generation(thread, job, generation, runs, by_id, tagged=tagged)
        findings += _denied(thread, job, known, by_id)
    findings += _strangers(thread, runs, claimed, tagged=tagged)
    return findings


def hides_doubles(thread: ThreadSeen, runs: Sequence[Run], *, tagged: bool) -> bool:
    """Whether a run that no row knows may be a double that nothing shows as one.

    Without a tag, on a thread that others may use.
    """
    if tagged or any(job.own_thread for job in thread.jobs):
        return False
    known = {g.run_id for job in thread.jobs for g in job.generations}
    noted = frozenset[str]().union(*(job.noted for job in thread.jobs))
    return any(run.id not in known and run.id not in noted for run in runs)


def standing(before: Sequence[Finding], after: Sequence[Finding]) -> list[Finding]:
    """Return the findings that hold against the store as it was before the list and after it.

    Workers may be at work: what they wrote down meanwhile is no finding.
    """
    first = {(f.kind, f.custom_id, f.generation, f.runs) for f in before}
    return [f for f in after if (f.kind, f.custom_id, f.generation, f.runs) in first]


def _generation(
    thread: ThreadSeen,
    job: JobSeenOnThread,
    seen: GenerationSeen,
    runs: Iterable[Run],
    by_id: Mapping[str, Run],
    *,
    tagged: bool,
) -> list[Finding]:
    found: list[Finding] = []

    def add(kind: Trouble, ids: tuple[str, ...], text: str) -> None:
        found.append(
            Finding(kind, thread.thread_id, job.custom_id, seen.generation, ids, text, job.job_id)
        )

    mine = [run for run in runs if tagged and run.tag == seen.key]
    if len(mine) > 1:
        told = ", ".join(f"{run.id} {run.status}" for run in mine)
        add(
            Trouble.DOUBLE,
            tuple(run.id for run in mine),
            f"{len(mine)} runs carry the key of generation {seen.generation}: {told}; "
            f"the row has {seen.run_id or 'none'}",
        )
    if seen.run_id is None:
        extra = [run.id for run in mine if run.id not in job.noted]
        if extra and not job.under_way:
            add(Trouble.UNKNOWN, tuple(extra), "the server has a run that no row knows")
        return found
    run = by_id.get(seen.run_id)
    if run is None:
        add(Trouble.GONE, (seen.run_id,), "the recorded run is not on the server's list")
    elif seen.status is not None and run.status != seen.status:
        kind = Trouble.ACTIVE if run.kind in (Kind.ACTIVE, Kind.WAITS) else Trouble.DIFFERS
        add(kind, (run.id,), f"recorded as {seen.status}, on the server {run.status}")
    return found


def _denied(
    thread: ThreadSeen, job: JobSeenOnThread, known: set[str], by_id: Mapping[str, Run]
) -> list[Finding]:
    gone = sorted(job.noted - set(by_id) - known)
    if not gone:
        return []
    text = "an answer named a run that the server does not list"
    return [
        Finding(Trouble.DENIED, thread.thread_id, job.custom_id, 0, tuple(gone), text, job.job_id)
    ]


def _strangers(
    thread: ThreadSeen, runs: Sequence[Run], claimed: set[str], *, tagged: bool
) -> list[Finding]:
    keys = {g.key for job in thread.jobs for g in job.generations}
    parts = {part_of(key) for key in keys}
    own = next((job for job in thread.jobs if job.own_thread), None)
    found: list[Finding] = []
    for run in runs:
        if run.id in claimed or (tagged and run.tag in keys):
            continue
        if tagged and run.tag and part_of(run.tag) in parts:
            text = "a run carries the key of a generation that no row knows"
            found.append(Finding(Trouble.UNKNOWN, thread.thread_id, "", 0, (run.id,), text))
        elif own is not None and not own.under_way:
            text = "a run without our key is on a thread that was made for one job alone"
            kind = Trouble.FOREIGN if tagged else Trouble.DOUBLE
            found.append(
                Finding(kind, thread.thread_id, own.custom_id, 0, (run.id,), text, own.job_id)
            )
    return found
