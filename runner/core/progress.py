"""Where a batch stands: one frozen snapshot, drawn as lines, as text or as JSON by whoever likes."""

from collections.abc import Mapping

from msgspec import Struct, field

from runner.core.batch import Count
from runner.core.model import JobState


class BudgetUse(Struct, frozen=True):
    """One budget: limit and window in force (None: none known), where they come from, use.

    `used` is permits granted in the last window; `shut_s` how long the gate stays shut.
    """

    kind: str
    limit: float | None
    window_s: float | None
    source: str
    used: float
    shut_s: float = 0.0
    why: str = ""
    searching: bool = False


class WorkerSeen(Struct, frozen=True):
    """A worker as its row says: silent for `silent_s` since its last heartbeat."""

    id: str
    host: str
    pid: int
    version: str
    silent_s: float
    holds: int
    started_ms: int


class TurnElsewhere(Struct, frozen=True):
    """A job that waits for its thread, on which a job of another batch has the turn."""

    custom_id: str
    thread_id: str
    other: str
    batch: str


class Cause(Struct, frozen=True):
    """Jobs that ended badly for one cause: `code` is the error's code or the status."""

    status: str
    code: str
    message: str
    jobs: int


class Progress(Struct, frozen=True):
    """A batch's counts, causes, tokens and budgets. Times are unix ms, 0 = never."""

    batch: str
    dialect: str
    base_url: str
    counts: tuple[Count, ...]
    causes: tuple[Cause, ...] = ()
    doubts: int = 0
    blocked_by: tuple[tuple[str, str], ...] = ()
    possible_doubles: int = 0
    doubles: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)
    earlier_tokens: int = 0
    first_ms: int = 0
    last_ms: int = 0
    lateness_ms: int = 0
    stopped: str = ""
    queued_whole: bool = False
    budgets: tuple[BudgetUse, ...] = ()
    workers: tuple[WorkerSeen, ...] = ()

    def of(self, *states: JobState) -> int:
        """Return how many jobs are in these states."""
        return sum(count.jobs for count in self.counts if count.state in states)

    @property
    def jobs(self) -> int:
        """How many jobs the batch has."""
        return sum(count.jobs for count in self.counts)

    @property
    def at_rest(self) -> int:
        """How many jobs have ended."""
        return self.of(JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @property
    def whole(self) -> bool:
        """Whether every job is at rest."""
        return self.at_rest == self.jobs
