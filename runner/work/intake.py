"""What a program hands over becomes jobs of a batch, judged as a manifest's lines are."""

import io
import json
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from runner.core.batch import Added, Batch, Conflict, Queued
from runner.core.model import BadLine, JobSpec
from runner.manifest.reader import Check, Remark, read
from runner.store.store import Store

IN_MEMORY = "<jobs>"
"""The source's name of jobs that came from no file."""

CHUNK = 500
"""Jobs that are queued in one transaction."""


class BadJob(Struct, frozen=True):
    """A job that was not queued, and why.

    `index` counts from 0 in the iterable; in a file it is the line less one. `job` is what was
    handed over, of a file the line's bytes. `custom_id` is None where there is none to be read.
    """

    index: int
    custom_id: str | None
    reason: str
    job: object

    def __str__(self) -> str:
        named = f" ({self.custom_id})" if self.custom_id else ""
        return f"job {self.index}{named}: {self.reason}"


class Intake:
    """One pass over jobs of a program. `bad` is told of each that is not queued.

    `longest` is in bytes of the job's JSON. `replace`: a job whose content changed becomes its next
    generation. `warn` is told what a good job should mind. Its methods may be called from any
    thread, one at a time.
    """

    def __init__(
        self,
        store: Store,
        batch: Batch,
        check: Check,
        *,
        longest: int,
        replace: bool,
        now_ms: Callable[[], int],
        bad: Callable[[BadJob], None],
        warn: Callable[[str], None],
    ) -> None:
        self._queueing = store.queueing(batch, IN_MEMORY, replace=replace)
        self._check = check
        self._longest = longest
        self._now_ms = now_ms
        self._bad = bad
        self._warn = warn
        self._taken = 0
        self._good = 0
        self._faulty = 0

    def add(self, jobs: Sequence[object]) -> Added:
        """Queue up to `CHUNK` jobs in one transaction; each bad one is told, the others go on."""
        first, self._taken = self._taken, self._taken + len(jobs)
        places: list[int] = []
        lines: list[bytes] = []
        for place, job in enumerate(jobs):
            line = as_line(job)
            if isinstance(line, str):
                self._tell(first + place, job, line)
            else:
                places.append(place)
                lines.append(line)
        specs: list[JobSpec] = []
        source = io.BytesIO(b"\n".join(lines))
        for entry in read(source, self._check, longest=self._longest):
            place = places[entry.line - 1]
            match entry:
                case JobSpec():
                    specs.append(msgspec.structs.replace(entry, line=first + place + 1))
                case BadLine():
                    reason = "; ".join(map(str, entry.complaints))
                    self._tell(first + place, jobs[place], reason)
                case Remark():
                    self._warn(f"job {first + place}: {entry.complaint} (a warning)")
        self._good += len(specs)
        added = self._queueing.add(specs, self._now_ms())
        for conflict in added.conflicts:
            place = conflict.line - 1
            self._bad(
                BadJob(place, conflict.custom_id, known_otherwise(conflict), jobs[place - first])
            )
        return added

    def finish(self) -> Queued:
        """End the pass; return what it came to."""
        return self._queueing.finish(None, self._good, self._faulty)

    def _tell(self, index: int, job: object, reason: str) -> None:
        self._faulty += 1
        self._bad(BadJob(index, name_of(job), reason, job))


def as_line(job: object) -> bytes | str:
    """Return a job as a manifest's line, or what keeps it from being one."""
    if not isinstance(job, Mapping):
        return f"is a {type(job).__name__}, not a mapping"
    try:
        return json.dumps(dict(job), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as trouble:
        return f"is not JSON: {trouble}"


def name_of(job: object) -> str | None:
    """Return a job's custom_id where it can be read."""
    if isinstance(job, bytes):
        try:
            job = msgspec.json.decode(job)
        except (msgspec.DecodeError, RecursionError):
            return None
    name = job.get("custom_id") if isinstance(job, Mapping) else None
    return name if isinstance(name, str) else None


def known_otherwise(conflict: Conflict) -> str:
    """Return why a job in conflict was not queued."""
    there = f"{conflict.other_source}:{conflict.other_line}"
    return f"custom_id: known with other content from {there}; nothing was changed"
