"""What the store hands out for one job when it is asked for results: the end, or how far it got."""

import json

from msgspec import Struct

from runner.core.model import JobState, Usage


class Cause(Struct, frozen=True):
    """Why a job did not succeed: the API's spelling of it, or ours where it never answered.

    `http_status` and `request_id` are those of the answer that said so, None where there was none
    (a run that failed at the server, a connection that broke).
    """

    type: str | None = None
    code: str | None = None
    message: str | None = None
    http_status: int | None = None
    request_id: str | None = None


class Outcome(Struct, frozen=True):
    """One job as the export shows it, at rest or not yet.

    `run`, each of `earlier_runs`, `messages`, `steps` and `deltas` are JSON that has parsed, byte
    for byte as the API sent it (the last three: arrays of what it sent); they are spliced, never
    decoded and encoded again. None: not fetched, or not there. `status` is never None for a job at
    rest. Times are unix milliseconds by the wall clock, 0 = never. `doubles` are ids of runs with
    our tag beside the job's own; `possible_double` says that a create was sent again after a doubt
    that no look could settle (protocol.md section 8).
    """

    batch: str
    custom_id: str
    line: int
    state: JobState
    status: str | None
    thread_id: str | None = None
    run_id: str | None = None
    run: bytes | None = None
    earlier_runs: tuple[bytes, ...] = ()
    messages: bytes | None = None
    steps: bytes | None = None
    output_text: str | None = None
    deltas: bytes | None = None
    error: Cause | None = None
    attempts: int = 0
    generation: int = 1
    idempotency_key: str = ""
    queued_ms: int = 0
    created_ms: int = 0
    ended_ms: int = 0
    usage: Usage | None = None
    doubles: tuple[str, ...] = ()
    possible_double: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the job ended well: `completed`, or the dialect's own word for it."""
        return self.state is JobState.SUCCEEDED

    @property
    def run_object(self) -> dict[str, object] | None:
        """Return `run` read as JSON, None where no run is known or it is no object."""
        parsed: object = None if self.run is None else json.loads(self.run)
        return parsed if isinstance(parsed, dict) else None
