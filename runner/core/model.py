"""The nouns: manifest line, job, run, attempt, outcome.

All frozen, all small: a job in flight costs a few hundred bytes, and bodies stay the bytes that
came. What is made once a job is a Struct: making one costs a tenth of a frozen dataclass.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

import msgspec
from msgspec import Struct

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class JobState(StrEnum):
    """Where a job stands in our book; the API's own word is `status`."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def at_rest(self) -> bool:
        """Whether only a person's retry can move the job on."""
        return self in AT_REST


AT_REST = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Kind(StrEnum):
    """What a dialect's status word means to us."""

    ACTIVE = "active"
    WAITS = "waits"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """The `status` of a job at rest where no run is known (design.md section 3)."""

    REJECTED = "rejected"
    EXHAUSTED = "exhausted"
    IN_DOUBT = "in_doubt"
    RUN_LOST = "run_lost"
    CANCELLED = "cancelled"


class Complaint(Struct, frozen=True):
    """One thing wrong with a manifest line: `field` is a path such as "tools[2].function.name"."""

    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what}" if self.field else self.what


class JobSpec(msgspec.Struct, frozen=True):
    """One good manifest line, ready to be queued.

    `custom_id` is None where the line has none: the store derives it from `digest` and its
    occurrence. `body` is the create call's body as the user wrote it (JSON object bytes, numbers
    and order kept, without our tag). `extra` is a JSON object of what stands beside the body
    (thread, include, tool_outputs, url, …) or b"". `digest` is 16 bytes over the line's content
    without custom_id. `lane` names what shares a speed: assistant and model.
    """

    line: int
    custom_id: str | None
    thread_id: str | None
    body: bytes
    extra: bytes
    digest: bytes
    lane: str = ""


class BadLine(Struct, frozen=True):
    """A manifest line that cannot be queued, with its raw text cut at 1 MiB."""

    line: int
    complaints: tuple[Complaint, ...]
    raw: bytes


class Job(msgspec.Struct, frozen=True):
    """A leased job as a worker carries it: the row's narrow columns and the bytes to send.

    `token` changes at each claim and taking-over; every write compares it. `attempt` counts the
    intents of this generation. `refusals` counts the ones that a `--max-attempts` counts. Times
    are milliseconds on the store's clock, 0 = never.
    """

    id: int
    batch_id: int
    custom_id: str
    state: JobState
    generation: int
    attempt: int
    token: int
    key: str
    thread_id: str | None
    own_thread: bool
    lane: int
    doubted: bool
    closed_ms: int
    presumed: bool
    slow_close: bool
    first_intent_ms: int
    cancel_asked: bool
    refusals: int
    run_id: str | None
    created_ms: int
    body: bytes
    extra: bytes


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the API counted them; cached and reasoning tokens are parts, never added."""

    prompt: int = 0
    completion: int = 0
    total: int = 0
    cached: int = 0
    reasoning: int = 0


class ApiError(Struct, frozen=True):
    """How an API spelt an error: lower-case code and type where it gave them, the text cut at 2 kB."""

    code: str = ""
    type: str = ""
    message: str = ""
    param: str = ""


class ToolCall(Struct, frozen=True):
    """One function call that a run waits for."""

    id: str
    name: str
    arguments: str


class Run(msgspec.Struct, frozen=True):
    """The remote object, read for the few fields wanted; `raw` is the JSON that the API sent.

    `raw` is one line (newlines outside strings replaced by spaces) and has parsed. `created_s` and
    `ended_s` are unix seconds by the server's clock, 0 where unknown.
    """

    id: str
    status: str
    kind: Kind
    raw: bytes
    thread_id: str = ""
    tag: str = ""
    created_s: float = 0.0
    ended_s: float = 0.0
    expires_s: float = 0.0
    error: ApiError | None = None
    usage: Usage | None = None
    calls: tuple[ToolCall, ...] = ()
    poll_after_ms: int = 0

    @property
    def lost_its_tag(self) -> bool:
        """Whether the server gave metadata back, and our tag is not in it."""
        return not self.tag and b'"metadata"' in self.raw


class Proofs(Struct, frozen=True):
    """What a server can prove (protocol.md section 3); declared by a dialect, corrected by `probe`.

    `keys` the key is honoured · `lists` a thread's runs can be listed · `tags` metadata comes back
    · `locks` a thread admits one active run · `stateless` a second run leaves no trace · `at_end`
    the list need not show a run before its end: found is found, not found proves nothing.
    """

    keys: bool = False
    lists: bool = False
    tags: bool = False
    locks: bool = False
    stateless: bool = False
    at_end: bool = False


class Accepted(msgspec.Struct, frozen=True):
    """What a dialect made of a good line: see `JobSpec` for the fields.

    `warnings` are said, and stop nothing.
    """

    thread_id: str | None
    body: bytes
    extra: bytes
    lane: str = ""
    warnings: tuple[Complaint, ...] = ()


RawFields: TypeAlias = Mapping[str, bytes]
"""A JSON object's top level: field name to the value's bytes as they stood in the file."""
