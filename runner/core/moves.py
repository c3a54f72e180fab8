"""What a worker asks the store to write down: one value a transition.

Every move names what it was decided on (`Held`); the store compares and sets on all of it, and a
move that no longer fits is refused, never half done. A move is durable when its caller is called
back with True; False means that the lease was lost. Numbers are rows of the protocol's table.
"""

from typing import TypeAlias

from msgspec import Struct

from runner.core.model import ApiError, Job, JobState, Usage


class Held(Struct, frozen=True):
    """What a job's row must still say: compared in every write (protocol.md 8, change 1)."""

    job_id: int
    batch_id: int
    generation: int
    attempt: int
    state: JobState
    token: int


def held(job: Job) -> Held:
    """Return what a write on this job compares."""
    return Held(job.id, job.batch_id, job.generation, job.attempt, job.state, job.token)


class Evidence(Struct, frozen=True):
    """What one attempt came to, for the insert-only table `attempt`.

    `why` is created, unsent, refused, hung_up, sender_dead, lease_over, adopted or noted.
    """

    why: str
    http_status: int = 0
    request_id: str = ""
    run_id: str = ""
    error: ApiError | None = None
    detail: str = ""
    lateness_ms: int = 0


class Threaded(Struct, frozen=True):
    """A thread was made for the job: recorded before anything is sent into it."""

    held: Held
    thread_id: str


class Intend(Struct, frozen=True):
    """2, 11: attempt + 1, open, from queued or from a closed doubt; durable before the first byte."""

    held: Held


class Requeue(Struct, frozen=True):
    """5, 7: a proof that this attempt made nothing; back to queued, claimable after `delay_ms`.

    `counted`: one more of the refusals that `--max-attempts` counts (a 429 is none).
    """

    held: Held
    evidence: Evidence
    delay_ms: int = 0
    counted: bool = False


class Postpone(Struct, frozen=True):
    """A queued job that cannot go yet: claimable after `delay_ms`; `blocked_by` names a foreign run."""

    held: Held
    delay_ms: int
    blocked_by: str = ""


class Doubt(Struct, frozen=True):
    """8: nothing of this attempt can leave us any more, and its outcome is unknown.

    `slow`: our own time-out, 504 or 524, after which the wait is at least the time-out.
    `counted` as in `Requeue`. `blocked_by` names the active run that a refusal named.
    """

    held: Held
    evidence: Evidence
    slow: bool = False
    counted: bool = True
    blocked_by: str = ""


class Created(Struct, frozen=True):
    """6, 10: the run's id is recorded; `adopted` where a look or a refusal named it."""

    held: Held
    run_id: str
    evidence: Evidence
    adopted: bool = False
    doubles: tuple[str, ...] = ()


class Settle(Struct, frozen=True):
    """14, 15, 17, 11: the job comes to rest, and the next job of its thread becomes claimable.

    `status` is the API's word verbatim, or a `Reason`. `run` is the run object as it came. `again`
    asks for the next generation instead of rest (`--retry-runs`): the run is kept as an earlier
    one and the job is queued anew after `again_delay_ms`.
    """

    held: Held
    state: JobState
    status: str
    run_id: str = ""
    run: bytes = b""
    error: ApiError | None = None
    http_status: int = 0
    request_id: str = ""
    usage: Usage | None = None
    messages: bytes = b""
    steps: bytes = b""
    deltas: bytes = b""
    output_text: str | None = None
    evidence: Evidence | None = None
    possible_double: bool = False
    again: bool = False
    again_delay_ms: int = 0


class Acted(Struct, frozen=True):
    """21: the outputs of a round, durable before they are sent (JSON object of call id to text)."""

    held: Held
    outputs: bytes


class Note(Struct, frozen=True):
    """16: a late answer of a worker whose token is old. Insert only, compares nothing."""

    job_id: int
    generation: int
    attempt: int
    evidence: Evidence


class GiveBack(Struct, frozen=True):
    """A held job that nobody carries: its holder becomes nobody, its state stays."""

    held: Held


Move: TypeAlias = (
    Threaded | Intend | Requeue | Postpone | Doubt | Created | Settle | Acted | Note | GiveBack
)

ORDER: tuple[type[Move], ...] = (
    Note,
    Threaded,
    Intend,
    Doubt,
    Requeue,
    Postpone,
    Created,
    Acted,
    Settle,
    GiveBack,
)
"""The order of a job's life, in which a group's moves are written.

Grouped in order of arrival, a job whose created and settle fell into one group was settled first
and stuck (performance.md C). A second move of the same or an earlier kind for one job closes the
group.
"""

__all__ = [
    "ORDER",
    "Acted",
    "Created",
    "Doubt",
    "Evidence",
    "GiveBack",
    "Held",
    "Intend",
    "Move",
    "Note",
    "Postpone",
    "Requeue",
    "Settle",
    "Threaded",
    "held",
]
