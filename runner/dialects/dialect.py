"""The interface that every dialect keeps, also one from a third party's entry point."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from runner.core.call import Call, Flow, Reply
from runner.core.model import Accepted, ApiError, Complaint, Job, Json, Kind, Proofs, RawFields, Run


class UnreadableError(Exception):
    """A successful answer that does not hold what it must: not JSON, or a run without an id.

    For a create this is doubt (the run may exist), for a read it is no answer at all.
    """


class Tag(Struct, frozen=True):
    """Where our key goes in a run's metadata; `name` is a setting. None of it: `Tag("")`."""

    name: str = "runner_key"


class StreamNews(Struct, frozen=True):
    """What one server-sent event tells: a run's newest object, the end, an error, or text."""

    run: Run | None = None
    done: bool = False
    error: ApiError | None = None
    delta: str = ""


class Dialect(Protocol):
    """One API. Instances are frozen and made by `named.named(name, options)`.

    Flows raise `UnreadableError` where a 2xx body is unusable. Paths are relative to the base URL
    and percent-encoded segment by segment: a thread_id never leaves its segment.
    """

    @property
    def name(self) -> str:
        """The word of `--dialect`."""
        ...

    @property
    def proofs(self) -> Proofs:
        """What this API can prove by its documentation; `probe` knows better."""
        ...

    @property
    def base_url(self) -> str | None:
        """The default base URL, or None where one must be given."""
        ...

    @property
    def url_variables(self) -> tuple[str, ...]:
        """Environment variables that may hold the base URL, first one set wins."""
        ...

    @property
    def key_variables(self) -> tuple[str, ...]:
        """Environment variables that may hold the key, first one set wins."""
        ...

    @property
    def statuses(self) -> Mapping[str, Kind]:
        """Each documented status word; any other word ends the follow and is reported as failed."""
        ...

    def headers(self, secret: str | None) -> tuple[tuple[str, str], ...]:
        """Return the headers of every request: authorization, beta, accept, content-type."""
        ...

    def check(self, line: bytes, fields: RawFields, *, lenient: bool) -> Accepted | list[Complaint]:
        """Validate one manifest line; strict JSON has been seen to already.

        `line` is the whole line's JSON bytes, `fields` its top level (name to raw value bytes).
        `custom_id` is the reader's and passed over here. Unknown fields are complaints with the
        nearest known name, unless `lenient`, which sends them on unchanged.
        """
        ...

    def makes_thread(self, job: Job) -> bool:
        """Whether a thread must be made for the job before its run (its id is recorded first)."""
        ...

    def make_thread(self, job: Job, tag: Tag) -> Flow[str]:
        """Make the job's thread and return its id; repeated freely, an orphan costs nothing."""
        ...

    def create(self, job: Job, tag: Tag, *, stream: bool) -> Flow[Run]:
        """Yield exactly one call, marked `creates`; the body is the same bytes at every attempt."""
        ...

    def runs_of(self, thread_id: str, since_s: float, tag: Tag) -> Flow[list[Run]]:
        """List a thread's runs, newest first, all pages, back to before `since_s` (server clock).

        `since_s` 0 lists all. Only where `proofs.lists`.
        """
        ...

    def read(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Read one run."""
        ...

    def cancel(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Ask for a run's end; an API that refuses because it has ended is for the caller to read."""
        ...

    def submit(
        self, thread_id: str, run_id: str, outputs: Mapping[str, str], tag: Tag
    ) -> Flow[Run]:
        """Answer all calls of a round in one request; `outputs` is call id to text."""
        ...

    def messages(self, thread_id: str, run_id: str) -> Flow[list[bytes]]:
        """List the messages that the run wrote, oldest first, each as JSON bytes of one line."""
        ...

    def steps(self, thread_id: str, run_id: str, extra: bytes = b"") -> Flow[list[bytes]]:
        """List the run's steps, oldest first, each as JSON bytes of one line.

        `extra` is the job's: what its line asks to `include` is asked for here too.
        """
        ...

    def output_text(self, run: bytes, messages: list[bytes]) -> str | None:
        """Return the run's answer as text from its object or its messages, or None."""
        ...

    def event(self, name: str, data: str, tag: Tag) -> StreamNews:
        """Read one server-sent event; unknown names tell nothing."""
        ...

    def error_of(self, reply: Reply) -> ApiError:
        """Return how this API spells the error of a reply; an empty one where it says nothing."""
        ...

    def active_run(self, reply: Reply) -> str | None:
        """Return the id of the active run that a refusal names.

        "" where it says that the thread is busy without naming a run; None where the refusal is
        about something else.
        """
        ...

    def snippet(self, job: Job, tag: Tag) -> Call:
        """Return the exact create call for `show --as curl`, with headers but without the key."""
        ...


Options = Mapping[str, str]
"""A dialect's own settings by name: api_version, deployment, assistant_prefix, …"""

__all__ = ["Dialect", "Json", "Options", "StreamNews", "Tag", "UnreadableError"]
