"""Queueing: manifest lines become jobs, each line once, a chunk whole or not at all.

A pass may be killed anywhere and begun again: a line that is known by its custom_id is no new job,
and a custom_id that is missing is derived from the line's content and its occurrence.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from msgspec.structs import replace
from sqlalchemy import Connection, text

from runner.core.batch import Added, Batch, Queued
from runner.core.model import JobSpec
from runner.core.points import Point
from runner.store.lines import Chunk, Line, Source, add_looking, add_new, lanes_of
from runner.store.listen import tell_others
from runner.store.pass_memory import PassMemory

T = TypeVar("T")

NAMES = 5
"""How many vanished jobs are named."""

_SOURCE = text(
    """
    SELECT id, identity, lines, bad, conflicts FROM source
    WHERE batch_id = :batch_id AND path = :path
    """
)
_NEW_SOURCE = text(
    """
    INSERT INTO source (batch_id, path, identity, lines, bad, conflicts, vanished, queued_ms)
    VALUES (:batch_id, :path, '', 0, 0, 0, 0, 0) ON CONFLICT (batch_id, path) DO NOTHING
    """
)
_BEGUN = text("UPDATE source SET identity = '' WHERE id = :id")
_FINISHED = text(
    """
    UPDATE source SET identity = :identity, lines = :lines, bad = :bad, conflicts = :conflicts,
        vanished = :vanished, queued_ms = :queued_ms
    WHERE id = :id
    """
)
# In an order that its index has: else PostgreSQL guesses that a scan would soon meet one, and scans
# all jobs for a source that has none.
_HAS_JOBS = text(
    """
    SELECT 1 FROM job WHERE batch_id = :batch_id AND source_id = :source_id ORDER BY line LIMIT 1
    """
)
OF_SOURCE = text(
    """
    SELECT id, custom_id, line FROM job
    WHERE batch_id = :batch_id AND source_id = :source_id AND (line, id) > (:line, :id)
    ORDER BY line, id LIMIT 1000
    """
)


class Writes(Protocol):
    """How a pass reaches the writer: a verb as one transaction, durable when it returns."""

    def __call__(
        self,
        verb: Callable[[Connection], T],
        *,
        before: Point | None = None,
        after: Point | None = None,
        keep: Callable[[T], bool] = ...,
    ) -> T:
        """Run the verb in the writer's thread."""
        ...


class Queueing:
    """One pass over one manifest of a batch; `replacing`: changed lines replace their jobs.

    `elsewhere` tells of a new line's name whether its job ended well elsewhere: it is left out.
    """

    def __init__(
        self,
        write: Writes,
        batch: Batch,
        path: str,
        *,
        replacing: bool,
        elsewhere: Callable[[str], bool] | None = None,
    ) -> None:
        self._write = write
        self._batch = batch
        self._path = path
        self._replacing = replacing
        self._elsewhere = elsewhere
        self._memory = PassMemory()
        self._lanes: dict[str, int] = {}
        self._total = Added()
        self._conflicts = 0
        self._last_ms = 0
        self._begun = False
        self._source_id, self._identity, self._lines, self._had_jobs = write(self._open)
        # A pass over lines that nobody knows yet runs without looking for them.
        self._looks = self._had_jobs or elsewhere is not None

    def skip(self, identity: str | None) -> Queued | None:
        """Return what is known of a manifest that was queued whole, clean and the same before.

        None: it must be read. `identity` is None where the source has none (standard input).
        """
        if not identity or identity != self._identity:
            return None
        self._memory.close()
        return Queued(known=self._lines, unchanged=True)

    def add(self, specs: Sequence[JobSpec], now_ms: int) -> Added:
        """Queue up to 1,000 lines in one transaction: all of them or none.

        `now_ms` is unix milliseconds. A line whose custom_id is known with other content is told
        as a conflict and changes nothing, unless the pass replaces.
        """
        if not specs:
            return Added()
        lines = self._named(specs)
        source = Source(self._batch, self._source_id, now_ms)
        lanes = [spec.lane for spec in specs]
        if not self._lanes.keys() >= set(lanes):
            # Apart from the chunk, which may be rolled back and come again.
            self._lanes = self._write(lambda connection: lanes_of(connection, self._batch, lanes))
        chunk: Chunk | None = None
        if not self._looks:
            chunk = self._write(
                lambda connection: self._add(connection, source, lines, looking=False),
                before=Point.QUEUE_BEFORE_COMMIT,
                after=Point.QUEUE_AFTER_COMMIT,
                keep=lambda made: made is not None,
            )
        if chunk is None:
            chunk = self._write(
                lambda connection: self._add(connection, source, lines, looking=True),
                before=Point.QUEUE_BEFORE_COMMIT,
                after=Point.QUEUE_AFTER_COMMIT,
            )
            if chunk is None:
                raise AssertionError("a chunk that was looked up came to nothing")
            # Lines that are known come in long stretches: after a kill, or at the next pass.
            self._looks = chunk.added.new < len(lines) or self._elsewhere is not None
        self._begun = True
        self._last_ms = now_ms
        if self._had_jobs or self._replacing:
            self._memory.see(chunk.seen)
        self._total += replace(chunk.added, conflicts=())
        self._conflicts += len(chunk.added.conflicts)
        return chunk.added

    def finish(self, identity: str | None, lines: int, bad: int) -> Queued:
        """End the pass: find the jobs whose lines are gone, and remember what was read.

        `lines` counts the good ones, `bad` the others.
        """
        vanished, names = self._vanished()
        binds: dict[str, int | str] = {
            "id": self._source_id,
            "identity": identity or "",
            "lines": lines,
            "bad": bad,
            "conflicts": self._conflicts,
            "vanished": vanished,
            "queued_ms": self._last_ms,
        }
        self._write(lambda connection: _run(connection, binds))
        self._memory.close()
        return Queued(
            new=self._total.new,
            known=self._total.known,
            replaced=self._total.replaced,
            bad=bad,
            conflicts=self._conflicts,
            vanished=vanished,
            vanished_names=names,
            elsewhere=self._total.elsewhere,
        )

    def _open(self, connection: Connection) -> tuple[int, str, int, bool]:
        binds: dict[str, int | str] = {"batch_id": self._batch.id, "path": self._path}
        connection.execute(_NEW_SOURCE, binds)
        number, identity, lines, bad, conflicts = connection.execute(_SOURCE, binds).one()
        had = connection.scalar(_HAS_JOBS, {"batch_id": self._batch.id, "source_id": number})
        return number, "" if bad or conflicts else identity, lines, had is not None

    def _named(self, specs: Sequence[JobSpec]) -> list[Line]:
        """Give each line its name; equal lines without one are told apart by their occurrence."""
        nameless = [spec.digest for spec in specs if spec.custom_id is None]
        times = deque(self._memory.occurrences(nameless) if nameless else ())
        lines: list[Line] = []
        for spec in specs:
            name = spec.custom_id
            if name is None:
                occurrence = times.popleft()
                name = f"auto-{spec.digest.hex()[:20]}"
                name = name if occurrence == 1 else f"{name}-{occurrence}"
            lines.append(Line(spec, name))
        return lines

    def _add(
        self, connection: Connection, source: Source, lines: Sequence[Line], *, looking: bool
    ) -> Chunk | None:
        if not self._begun:
            # Until this pass is whole, its source is not to be skipped.
            connection.execute(_BEGUN, {"id": source.id})
        if not looking:
            chunk = add_new(connection, source, lines, self._lanes)
        else:
            chunk = add_looking(
                connection,
                source,
                lines,
                self._lanes,
                self._may_replace,
                self._elsewhere or (lambda _name: False),
            )
        if chunk is not None and (chunk.added.new or chunk.added.replaced):
            tell_others(connection)
        return chunk

    def _may_replace(self, job_id: int) -> bool:
        # Two lines of one manifest that share a name would replace each other at each pass.
        return self._replacing and not self._memory.has_seen(job_id)

    def _vanished(self) -> tuple[int, tuple[str, ...]]:
        """Count the jobs of this source whose lines were not in this pass, and name the first."""
        if not self._had_jobs:
            return 0, ()
        count = 0
        names: list[str] = []
        place = {"batch_id": self._batch.id, "source_id": self._source_id, "line": -1, "id": 0}
        while rows := self._write(partial(_stretch, place)):
            for job_id, name, _ in rows:
                if not self._memory.has_seen(job_id):
                    count += 1
                    if len(names) < NAMES:
                        names.append(name)
            place = {**place, "line": rows[-1][2], "id": rows[-1][0]}
        return count, tuple(names)


def _stretch(place: dict[str, int], connection: Connection) -> list[tuple[int, str, int]]:
    return [(number, name, line) for number, name, line in connection.execute(OF_SOURCE, place)]


def _run(connection: Connection, binds: dict[str, int | str]) -> None:
    connection.execute(_FINISHED, binds)
