"""A manifest into the store: read, validated, added in chunks, each of them whole or not at all.

Killed at any moment, the same command goes on: a line that is there is known, one that is not is
new. Bad lines are told, counted and written down to be mended; they stop nothing unless `strict`.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct, field
from msgspec.structs import replace

from runner.core.batch import Added, Batch, Conflict, Queued
from runner.core.errors import RunnerError, UsageError
from runner.core.model import BadLine, JobSpec
from runner.core.points import Point, Reach
from runner.export.aside import aside
from runner.manifest.reader import Check, Remark
from runner.manifest.rejects import reject_line, told
from runner.manifest.sources import STANDARD_INPUT, identity
from runner.store.store import Store
from runner.work.cores import cores
from runner.work.reading import Recipe, chunks, chunks_apart, entries, is_large

TOLD_CONFLICTS = 20


class QueuePolicy(Struct, frozen=True):
    """How manifests are queued.

    `longest` is a line's greatest length in bytes. `elsewhere` tells by its custom_id whether a job
    ended well elsewhere, and is not to be queued.
    """

    longest: int
    replace: bool = False
    recheck: bool = False
    elsewhere: Callable[[str], bool] | None = None


class Telling(Struct):
    """Where queueing says what it meets. `queued` is told of lines read so far, a chunk at a time.

    `conflict` gets each conflict where a line of text is not wanted.
    """

    warn: Callable[[str], None]
    queued: Callable[[int], None] = lambda _lines: None
    stop: Callable[[], bool] = lambda: False
    conflict: Callable[[Conflict], None] | None = None


class Interrupted(RunnerError):
    """Queueing was asked to stop between two chunks: what was added stays."""

    exit_code = 3


class Rejects(Struct):
    """Bad lines on their way to `<out>.rejected.jsonl`: written aside, kept only if there are any.

    Where that cannot be written (a manifest's folder may be read-only) they go to the working
    folder; where that cannot either, `trouble` says so and they are only told: the good lines are
    queued all the same. `tell` gets each, with its manifest, instead of a line of text.
    """

    path: str | None
    reach: Reach
    tell: Callable[[BadLine, str], None] | None = None
    count: int = 0
    trouble: str = ""
    _stack: ExitStack = field(default_factory=ExitStack)
    _sink: BinaryIO | None = None

    def add(self, bad: BadLine, file: str) -> None:
        """Write one bad line down with its number and reason."""
        self.count += 1
        if self._sink is None and self.path is not None:
            self._sink = self._opened(self.path)
        if self._sink is not None:
            self._sink.write(reject_line(bad, file))

    def _opened(self, path: str) -> BinaryIO | None:
        try:
            return self._stack.enter_context(aside(path, self.reach))
        except UsageError as error:
            here = Path(path).name
            if path != here:
                self.path = here
                return self._opened(here)
            self.path, self.trouble = None, str(error)
            return None

    def close(self) -> None:
        """Put the file in its place."""
        self._stack.close()


def check_manifest(
    path: str,
    stdin: BinaryIO,
    check: Check,
    longest: int,
    tell: Callable[[str], None],
    seen: Callable[[JobSpec], None],
) -> tuple[int, int]:
    """Tell every bad line of a manifest; return how many lines were good and how many bad."""
    good = bad = 0
    for entry in entries(path, stdin, check, longest):
        match entry:
            case JobSpec():
                good += 1
                seen(entry)
            case BadLine():
                bad += 1
                for line in told(entry, path):
                    tell(line)
            case Remark():
                for line in told(entry, path):
                    tell(f"{line} (a warning)")
    return good, bad


def queue_manifest(
    store: Store,
    batch: Batch,
    path: str,
    stdin: BinaryIO,
    check: Check,
    policy: QueuePolicy,
    rejects: Rejects,
    telling: Telling,
    *,
    recipe: Recipe | None = None,
    now_ms: Callable[[], int],
    reach: Reach,
) -> Queued:
    """Queue one manifest into a batch; return what it came to.

    An unchanged file that was queued whole and clean before is not read again. `recipe` is what
    `check` was made by, for a large file's own process; None: it is read here. Raises `Interrupted`
    between chunks when told to stop; `RunnerError` for a source that breaks off.
    """
    mark = None if path == STANDARD_INPUT else identity(path)
    queueing = store.queueing(batch, path, replace=policy.replace, elsewhere=policy.elsewhere)
    if not policy.recheck and not policy.replace:
        unchanged = queueing.skip(mark)
        if unchanged is not None:
            return unchanged
    added, bad, lines, conflicts = Added(), 0, 0, 0

    def add(specs: Sequence[JobSpec]) -> Added:
        reach(Point.QUEUE_BEFORE_COMMIT)
        more = queueing.add(specs, now_ms())
        reach(Point.QUEUE_AFTER_COMMIT)
        telling.queued(len(specs))
        return more

    # The next chunk is read while the database takes the one before: SQLite works without the
    # interpreter's lock, so on two cores the two overlap.
    with ExitStack() as stack:
        beside = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="queueing"))
        under_way: Future[Added] | None = None
        if recipe is not None and cores() > 1 and is_large(path):
            read = stack.enter_context(chunks_apart(path, recipe, policy.longest))
        else:
            read = chunks(entries(path, stdin, check, policy.longest))
        for chunk in read:
            specs, worse = _sorted(chunk, path, rejects, telling)
            bad += worse
            if under_way is not None:
                conflicts, added = _count(under_way.result(), path, conflicts, added, telling)
            lines += len(specs)
            under_way = beside.submit(add, specs) if specs else None
            if telling.stop():
                break
        if under_way is not None:
            conflicts, added = _count(under_way.result(), path, conflicts, added, telling)
    if telling.stop():
        raise Interrupted(
            f"stopped while queueing {path}, {lines:,} lines in", remedy="the same command goes on"
        )
    # What was left out may be wanted by a later pass, which must not skip the file then.
    clean = not bad and not conflicts and not added.elsewhere
    done = queueing.finish(mark if clean else None, lines, bad)
    return replace(
        done,
        new=added.new,
        known=added.known,
        replaced=added.replaced,
        bad=bad,
        conflicts=conflicts,
    )


def _sorted(
    chunk: Sequence[JobSpec | BadLine | Remark], path: str, rejects: Rejects, telling: Telling
) -> tuple[list[JobSpec], int]:
    """Return a chunk's good lines and how many are bad; the bad ones are told and written down."""
    specs: list[JobSpec] = []
    bad = 0
    for entry in chunk:
        match entry:
            case JobSpec():
                specs.append(entry)
            case BadLine():
                bad += 1
                rejects.add(entry, path)
                if rejects.tell is not None:
                    rejects.tell(entry, path)
                    continue
                for line in told(entry, path):
                    telling.warn(line)
            case Remark():
                for line in told(entry, path):
                    telling.warn(f"{line} (a warning)")
    return specs, bad


def _count(
    more: Added, path: str, conflicts: int, added: Added, telling: Telling
) -> tuple[int, Added]:
    """Add a chunk's counts to what there is, telling its conflicts."""
    told_now = _tell_conflicts(more, path, conflicts, telling)
    return told_now, replace(added + more, conflicts=())


def _tell_conflicts(more: Added, path: str, before: int, telling: Telling) -> int:
    for number, conflict in enumerate(more.conflicts, before + 1):
        if telling.conflict is not None:
            telling.conflict(conflict)
        elif number <= TOLD_CONFLICTS:
            telling.warn(
                f"{path}:{conflict.line}: custom_id: '{conflict.custom_id}' is known with other "
                f"content from {conflict.other_source}:{conflict.other_line}; nothing was changed, "
                "use --replace to queue it anew"
            )
        elif number == TOLD_CONFLICTS + 1:
            telling.warn(f"{path}: more conflicts follow; they are counted, not told")
    return before + len(more.conflicts)
