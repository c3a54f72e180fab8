"""A batch as the rooms above the store see it, and what queueing and counting say of it."""

from collections.abc import Mapping

from msgspec import Struct, field

from runner.core.model import JobState, Proofs


class Batch(Struct, frozen=True):
    """A named set of jobs that keeps the dialect and base URL it began with.

    `uid` is chance and part of each idempotency key. `lateness_ms` is the greatest lateness at
    which a look found a run; it raises the doubt wait for the rest of the batch.
    `proofs` is what a probe found for the base URL, or None. `stopped` is why a breaker or a
    person stopped it last, "" otherwise.
    """

    id: int
    name: str
    uid: str
    dialect: str
    base_url: str
    origin: int
    tag: str
    weight: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    queued_whole: bool = False
    look_first: bool = False
    stopped: str = ""
    lateness_ms: int = 0
    proofs: Proofs | None = None


class Conflict(Struct, frozen=True):
    """A line whose custom_id is known with other content: nothing was changed."""

    custom_id: str
    line: int
    other_source: str
    other_line: int


class Added(Struct, frozen=True):
    """What queueing a chunk of lines came to; sums with `+`. `replaced` only with --replace.

    `elsewhere` are new lines that were left out, since their jobs ended well elsewhere.
    """

    new: int = 0
    known: int = 0
    replaced: int = 0
    conflicts: tuple[Conflict, ...] = ()
    elsewhere: int = 0

    def __add__(self, other: "Added") -> "Added":
        return Added(
            self.new + other.new,
            self.known + other.known,
            self.replaced + other.replaced,
            self.conflicts + other.conflicts,
            self.elsewhere + other.elsewhere,
        )


class Queued(Struct, frozen=True):
    """What queueing whole manifests came to."""

    new: int = 0
    known: int = 0
    replaced: int = 0
    bad: int = 0
    conflicts: int = 0
    vanished: int = 0
    vanished_names: tuple[str, ...] = ()
    unchanged: bool = False
    elsewhere: int = 0

    @property
    def faulty(self) -> bool:
        """Whether a line was bad or in conflict: exit 1."""
        return bool(self.bad or self.conflicts)


class Count(Struct, frozen=True):
    """How many jobs of a batch stand so."""

    state: JobState
    status: str
    jobs: int
