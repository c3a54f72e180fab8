"""The Assistants shape of OpenAI's v2, which compatible servers, v1, Azure and Foundry share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from runner.core.call import Call, Flow, Reply
from runner.core.model import Accepted, ApiError, Complaint, Job, Kind, Proofs, RawFields, Run
from runner.dialects import refusals
from runner.dialects.dialect import Dialect, Options, StreamNews, Tag, UnreadableError
from runner.dialects.events import read_event
from runner.dialects.fields import OPENAI, PAIRS
from runner.dialects.line import LineCheck
from runner.dialects.messages import output_text, wrote_it
from runner.dialects.options import settled
from runner.dialects.pages import Listing
from runner.dialects.run_object import read_object, read_run
from runner.dialects.splice import put_together, streamed, tagged, take_apart

SKEW_S = 60
"""How far back before `since_s` a list is read: the server's clock may be behind (api-facts 5)."""

STATUSES: Mapping[str, Kind] = MappingProxyType(
    {
        "queued": Kind.ACTIVE,
        "in_progress": Kind.ACTIVE,
        "requires_action": Kind.WAITS,
        "cancelling": Kind.ACTIVE,
        "completed": Kind.SUCCEEDED,
        "incomplete": Kind.FAILED,
        "failed": Kind.FAILED,
        "cancelled": Kind.CANCELLED,
        "expired": Kind.FAILED,
    }
)


class _Extra(msgspec.Struct, gc=False):
    thread: msgspec.Raw = msgspec.Raw(b"{}")
    include: list[str] = []


_EXTRA = msgspec.json.Decoder(_Extra)


def _included(extra: bytes) -> str:
    """Return a line's `include` as a query, "" where it has none."""
    include = _EXTRA.decode(extra).include if extra else []
    return "&".join(f"include[]={quote(one, safe='')}" for one in include).replace("[]", "%5B%5D")


@dataclass(frozen=True, slots=True)
class Assistants:
    """One API of the Assistants shape: see `Dialect` for what each member promises.

    `auth` is the header that carries the key: "authorization" (bearer) or "api-key". `query` goes
    with every call (Azure's api-version), `prefix` before every path, `fixed` into the headers of
    every call; `beta` is the beta header's value, "" for none.
    """

    name: str
    lines: LineCheck
    beta: str
    base_url: str | None = None
    url_variables: tuple[str, ...] = ("OPENAI_BASE_URL",)
    key_variables: tuple[str, ...] = ("OPENAI_API_KEY",)
    proofs: Proofs = field(default=Proofs(lists=True, tags=True, locks=True))
    statuses: Mapping[str, Kind] = field(default_factory=lambda: STATUSES)
    auth: str = "authorization"
    query: str = ""
    prefix: str = ""
    fixed: tuple[tuple[str, str], ...] = ()

    def headers(self, secret: str | None) -> tuple[tuple[str, str], ...]:
        """Return the headers of every request."""
        key: tuple[tuple[str, str], ...] = ()
        if secret:
            bearer = self.auth == "authorization"
            key = (("Authorization", f"Bearer {secret}"),) if bearer else ((self.auth, secret),)
        return (
            *key,
            *((("OpenAI-Beta", self.beta),) if self.beta else ()),
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            *self.fixed,
        )

    def check(self, line: bytes, fields: RawFields, *, lenient: bool) -> Accepted | list[Complaint]:
        """Validate one manifest line."""
        return self.lines(line, fields, lenient=lenient)

    def makes_thread(self, job: Job) -> bool:
        """Whether the job brought no thread and none has been made."""
        return job.thread_id is None

    def make_thread(self, job: Job, tag: Tag) -> Flow[str]:
        """Make the job's thread as its line describes it, tagged where there is room."""
        thread = take_apart(bytes(_EXTRA.decode(job.extra).thread)) if job.extra else {}
        metadata = thread.get("metadata", b"null").strip()
        if metadata == b"null" or len(take_apart(metadata)) < PAIRS:
            thread = tagged(thread, tag.name, job.key)
        reply = yield self._call("POST", "/threads", body=put_together(thread))
        return _made(reply.body)

    def create(self, job: Job, tag: Tag, *, stream: bool) -> Flow[Run]:
        """Create the job's run; the tag goes into the metadata as the user wrote it."""
        reply = yield self._creating(job, tag, stream=stream)
        return self._run(reply, tag)

    def _creating(self, job: Job, tag: Tag, *, stream: bool) -> Call:
        if job.thread_id is None:
            raise ValueError(f"job {job.custom_id} has no thread yet")
        fields = streamed(take_apart(job.body), stream=stream)
        return self._call(
            "POST",
            f"/threads/{segment(job.thread_id)}/runs",
            _included(job.extra),
            body=put_together(tagged(fields, tag.name, job.key)),
            headers=(("Idempotency-Key", job.key),),
            creates=True,
            streams=stream,
        )

    def runs_of(self, thread_id: str, since_s: float, tag: Tag) -> Flow[list[Run]]:
        """List the thread's runs, newest first, until they are older than `since_s`."""
        runs: list[Run] = []
        listing = Listing("order=desc")
        while listing.goes_on:
            path = f"/threads/{segment(thread_id)}/runs"
            reply = yield self._call("GET", path, listing.query)
            page = [read_run(one, tag, self.statuses) for one in listing.take(reply.body)]
            # Some servers list every thread's runs (astra). One with a tag is judged by its tag.
            runs += [run for run in page if run.tag or run.thread_id in ("", thread_id)]
            if is_past(page, since_s - SKEW_S):
                break
        return runs

    def read(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Read one run."""
        reply = yield self._call("GET", _run_path(thread_id, run_id))
        return self._run(reply, tag)

    def cancel(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Ask for a run's end."""
        reply = yield self._call("POST", f"{_run_path(thread_id, run_id)}/cancel")
        return self._run(reply, tag)

    def submit(
        self, thread_id: str, run_id: str, outputs: Mapping[str, str], tag: Tag
    ) -> Flow[Run]:
        """Answer all calls of a round."""
        answers = [{"tool_call_id": call, "output": text} for call, text in outputs.items()]
        path = f"{_run_path(thread_id, run_id)}/submit_tool_outputs"
        body = msgspec.json.encode({"tool_outputs": answers})
        reply = yield self._call("POST", path, body=body)
        return self._run(reply, tag)

    def messages(self, thread_id: str, run_id: str) -> Flow[list[bytes]]:
        """List the messages that the run wrote, oldest first."""
        wrote: list[bytes] = []
        path = f"/threads/{segment(thread_id)}/messages"
        listing = Listing(f"order=asc&run_id={quote(run_id, safe='')}")
        while listing.goes_on:
            reply = yield self._call("GET", path, listing.query)
            wrote += [one for one in listing.take(reply.body) if wrote_it(one, run_id)]
        return wrote

    def steps(self, thread_id: str, run_id: str, extra: bytes = b"") -> Flow[list[bytes]]:
        """List the run's steps, oldest first, with what the line asks to include in them."""
        taken: list[bytes] = []
        included = _included(extra)
        listing = Listing(f"order=asc&{included}" if included else "order=asc")
        while listing.goes_on:
            reply = yield self._call("GET", f"{_run_path(thread_id, run_id)}/steps", listing.query)
            taken += listing.take(reply.body)
        return taken

    def output_text(self, run: bytes, messages: list[bytes]) -> str | None:  # noqa: ARG002 - of the Protocol
        """Return the run's answer from its messages: the run object does not hold it."""
        return output_text(messages)

    def event(self, name: str, data: str, tag: Tag) -> StreamNews:
        """Read one server-sent event."""
        return read_event(name, data, tag, self.statuses)

    def error_of(self, reply: Reply) -> ApiError:
        """Return the error that a reply spells."""
        return refusals.error_of(reply)

    def active_run(self, reply: Reply) -> str | None:
        """Return the active run that a refusal names."""
        return refusals.active_run(reply)

    def snippet(self, job: Job, tag: Tag) -> Call:
        """Return the create call with its headers, without the key."""
        call = self._creating(job, tag, stream=False)
        return replace(call, headers=(*self.headers(None), *call.headers))

    def _call(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        creates: bool = False,
        streams: bool = False,
    ) -> Call:
        whole = "&".join(part for part in (query, self.query) if part)
        return Call(method, self.prefix + path, whole, body, headers, creates, streams)

    def _run(self, reply: Reply, tag: Tag) -> Run:
        wait_ms = reply.headers.get("openai-poll-after-ms", "").strip()
        # A header of nonsense is no reason to lose the run that came with it.
        poll_after_ms = int(wait_ms) if wait_ms.isdecimal() and len(wait_ms) < 10 else 0
        return read_run(reply.body, tag, self.statuses, poll_after_ms)


def segment(text: str) -> str:
    """Return text as one path segment: nothing in it can leave the segment.

    Every character but letters, digits, "_", "-", "~" and "." is percent-encoded; so are dots where
    they are all there is, because "." and ".." are steps in a path (RFC 3986, 5.2.4).
    """
    encoded = quote(text, safe="")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded


def is_past(page: list[Run], since_s: float) -> bool:
    """Whether a page, newest first, reaches back before a time.

    A page in another order ends nothing: a server may have passed over `order`.
    """
    times = [run.created_s for run in page]
    in_order = all(newer >= older for newer, older in pairwise(times))
    return bool(times) and in_order and 0 < times[-1] < since_s


def _run_path(thread_id: str, run_id: str) -> str:
    return f"/threads/{segment(thread_id)}/runs/{segment(run_id)}"


def _made(body: bytes) -> str:
    thread_id = read_object(body)[1].get("id")
    if not isinstance(thread_id, str) or not thread_id:
        raise UnreadableError("a thread without an id")
    return thread_id


def make(options: Options) -> Dialect:
    """Return the dialect `openai`; its options: organization, project.

    It has no base URL: OpenAI's own endpoint was switched off on 2026-08-26.
    """
    chosen = settled("openai", options, {"organization": "", "project": ""})
    named = (
        ("OpenAI-Organization", chosen["organization"]),
        ("OpenAI-Project", chosen["project"]),
    )
    return Assistants(
        name="openai",
        lines=LineCheck(OPENAI, tag=chosen["tag"]),
        beta="assistants=v2",
        fixed=tuple((header, value) for header, value in named if value),
    )
