"""OpenAI's Responses API in the background: a run is a response that is created and then polled.

There are no threads and no list, so a doubt cannot be settled: it is held (reference 10.9). The
option `conversation` gives each job a conversation of its own, made first, and looks into that.
By the documentation the items of a response join the conversation *after this response completes*
(openai 3.57, ResponseCreateParams): such a look lags behind by a run's whole duration, so an empty
conversation proves nothing, unless `probe` saw a response in it before its end. Nor need items name
their response: then one was made, or its input came, and which is unknown. What is found is adopted.

A stored response is kept for polling for about ten minutes by the background guide: a later 404 on
a known id means that the result is gone, never that it did not run.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal, NoReturn, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from runner.core.call import Call, Flow, Reply
from runner.core.errors import UsageError, quoted
from runner.core.model import (
    Accepted,
    ApiError,
    Complaint,
    Job,
    Json,
    Kind,
    Proofs,
    RawFields,
    Run,
)
from runner.dialects.complaints import Found, faults, joined
from runner.dialects.dialect import Dialect, Options, StreamNews, Tag, UnreadableError
from runner.dialects.fields import PAIRS, AnyObject, Effort, Id, Metadata
from runner.dialects.openai import segment
from runner.dialects.options import settled
from runner.dialects.pages import Listing
from runner.dialects.refusals import error_in, error_of
from runner.dialects.request import (
    bearer,
    claims_tag,
    decoded,
    is_batch,
    open_batch,
    shown,
    written,
)
from runner.dialects.run_object import one_line, read_object, read_usage, seconds, text_of
from runner.dialects.splice import elements, put_together, tagged, take_apart

STATUSES: Mapping[str, Kind] = MappingProxyType(
    {
        "queued": Kind.ACTIVE,
        "in_progress": Kind.ACTIVE,
        "completed": Kind.SUCCEEDED,
        "incomplete": Kind.FAILED,
        "failed": Kind.FAILED,
        "cancelled": Kind.CANCELLED,
    }
)

NOTHING = Proofs(tags=True)
"""Metadata comes back, but there is no list to find it in, no key and no lock."""

CONVERSATIONS = Proofs(lists=True, tags=True, at_end=True)
"""A response that an item names is found; that none is there tells nothing before its end."""

_ALWAYS = {"background": b"true", "store": b"true"}
_BESIDE = frozenset({"custom_id"})
_URL = re.compile(r"(?:/v1)?/responses\Z")

Switch: TypeAlias = bool | None


class TypedObject(Struct, gc=False):
    """An input item, told apart by its `type`: there are dozens, and more come."""

    type: str | UnsetType = UNSET


class Tool(Struct, gc=False):
    """A tool; its kinds are the server's to judge."""

    type: str


class Reasoning(Struct, forbid_unknown_fields=True, gc=False):
    """How long a reasoning model thinks, and what it tells of it."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | UnsetType = UNSET


class NamedConversation(Struct, forbid_unknown_fields=True, gc=False):
    """A conversation by its id."""

    id: Id


class Prompt(Struct, forbid_unknown_fields=True, gc=False):
    """A stored prompt."""

    id: Id
    version: str | None = None
    variables: AnyObject | None = None


class CreateResponse(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The create body (openai 3.57, ResponseCreateParams); bounds from its texts."""

    access_programs: AnyObject | UnsetType = UNSET
    background: Switch = None
    background_options: AnyObject | UnsetType = UNSET
    context_management: list[AnyObject] | None = None
    conversation: Id | NamedConversation | None = None
    image: AnyObject | UnsetType = UNSET
    include: list[str] | None = None
    input: str | list[TypedObject] | UnsetType = UNSET
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    model: Id | UnsetType = UNSET
    moderation: AnyObject | None = None
    parallel_tool_calls: Switch = None
    previous_response_id: str | None = None
    prompt: Prompt | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: AnyObject | UnsetType = UNSET
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning: Reasoning | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: Switch = None
    stream: Switch = None
    stream_options: AnyObject | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    text: AnyObject | UnsetType = UNSET
    tool_choice: str | AnyObject | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | UnsetType = UNSET


_TELLING = frozenset(
    {
        "message",  # no name was given: the type in the object tells
        "error",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_text.delta",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
    }
)
_BODY = msgspec.json.Decoder(CreateResponse)
_ELSEWHERE = {
    "thread_id": "there are no threads; name a conversation or a previous_response_id",
    "thread": "there are no threads; name a conversation or a previous_response_id",
    "assistant_id": "there are no assistants; name a model, or a prompt by its id",
    "tool_outputs": "a response ends with its calls; answer in another, as function_call_output",
    "max_completion_tokens": "no such field; did you mean max_output_tokens?",
    "response_format": "no such field; did you mean text.format?",
    "reasoning_effort": "no such field; did you mean reasoning.effort?",
    "messages": "no such field; did you mean input?",
}


class _Wire(Struct, gc=False):
    """The response object; only its id and status must be there."""

    id: str
    status: str
    conversation: object = None
    metadata: object = None
    created_at: object = None
    completed_at: object = None
    error: object = None
    incomplete_details: object = None
    usage: object = None


_WIRE = msgspec.json.Decoder(_Wire)


@dataclass(frozen=True, slots=True)
class Responses:
    """The Responses API.

    `tag` is the name of Runner's own pair in a response's metadata, "" for none. `conversations`
    gives each job one of its own.
    """

    tag: str = "runner_key"
    conversations: bool = False
    name: str = "responses"
    base_url: str | None = "https://api.openai.com/v1"
    url_variables: tuple[str, ...] = ("OPENAI_BASE_URL",)
    key_variables: tuple[str, ...] = ("OPENAI_API_KEY",)

    @property
    def proofs(self) -> Proofs:
        """Nothing that settles a doubt, unless each job has its conversation."""
        return CONVERSATIONS if self.conversations else NOTHING

    @property
    def statuses(self) -> Mapping[str, Kind]:
        """The six words; there is no expiry, and a tool call ends a response as completed."""
        return STATUSES

    def headers(self, secret: str | None) -> tuple[tuple[str, str], ...]:
        """Return JSON's headers, and the key as a bearer token where there is one."""
        return bearer(secret)

    def check(self, line: bytes, fields: RawFields, *, lenient: bool) -> Accepted | list[Complaint]:  # noqa: ARG002 - the fields are the whole line
        """Validate a native line, or a Batch line whose url is /v1/responses."""
        if not is_batch(fields):
            body = {name: value for name, value in fields.items() if name not in _BESIDE}
            return self._checked(body, put_together(body), "", lenient=lenient)
        opened = open_batch(fields)
        if isinstance(opened, list):
            return opened
        if not _URL.match(opened.url):
            return [
                Complaint("url", f"{quoted(opened.url)} makes no response; write /v1/responses")
            ]
        return self._checked(take_apart(opened.body), opened.body, "body", lenient=lenient)

    def _checked(
        self, fields: RawFields, body: bytes, path: str, *, lenient: bool
    ) -> Accepted | list[Complaint]:
        found: list[Found] = []
        try:
            _BODY.decode(body)
        except (msgspec.DecodeError, RecursionError):
            found = _walked(body, path)
        found += self._at_odds(fields, path)
        told = [one.complaint for one in found if not (lenient and one.unknown)]
        if told:
            return told
        model = decoded(fields["model"]) if "model" in fields else None
        return Accepted(
            thread_id=_conversation_of(fields),
            body=body,
            extra=b"",
            lane=model if isinstance(model, str) else "",
        )

    def _at_odds(self, fields: RawFields, path: str) -> list[Found]:
        """Return what the fields are each right about but not together, or not with Runner."""
        found: list[Found] = []

        def tell(name: str, what: str) -> None:
            found.append(Found(joined(path, name), what))

        for name in ("background", "store"):
            if fields.get(name) == b"false":
                tell(name, "false leaves no response to follow; drop the field")
        if fields.get("stream") == b"true":
            tell("stream", "whether a run is followed by its stream is --stream's to say; drop it")
        if not _given(fields, "model") and not _given(fields, "prompt"):
            tell("model", "missing; a model is needed where no prompt names one")
        earlier = _given(fields, "previous_response_id")
        if earlier and (self.conversations or _given(fields, "conversation")):
            tell("previous_response_id", "cannot stand beside a conversation; give one of them")
        claimed = claims_tag(fields, self.tag)
        if claimed:
            tell("metadata", claimed)
        return found

    def makes_thread(self, job: Job) -> bool:
        """Whether a conversation must be made, which takes the thread's place."""
        return self.conversations and job.thread_id is None

    def make_thread(self, job: Job, tag: Tag) -> Flow[str]:
        """Make the job's conversation."""
        body = put_together(tagged({}, tag.name, job.key))
        reply = yield Call("POST", "/conversations", body=body)
        return _made(reply.body)

    def create(self, job: Job, tag: Tag, *, stream: bool) -> Flow[Run]:
        """Create the job's response, in the background and stored."""
        reply = yield self._creating(job, tag, stream=stream)
        return read_response(reply.body, tag)

    def _creating(self, job: Job, tag: Tag, *, stream: bool) -> Call:
        fields: dict[str, bytes] = dict(take_apart(job.body))
        # The tag settles nothing here; where the user's pairs fill the map it is left out.
        if len(take_apart(_object(fields.get("metadata")))) < PAIRS:
            fields = tagged(fields, tag.name, job.key)
        if job.thread_id is not None and not _given(fields, "conversation"):
            fields["conversation"] = msgspec.json.encode(job.thread_id)
        fields.update(_ALWAYS)
        if stream or "stream" in fields:
            fields["stream"] = b"true" if stream else b"false"
        return Call(
            "POST",
            "/responses",
            body=put_together(fields),
            headers=(("Idempotency-Key", job.key),),
            creates=True,
            streams=stream,
        )

    def runs_of(self, thread_id: str, since_s: float, tag: Tag) -> Flow[list[Run]]:  # noqa: ARG002 - items carry no time
        """List the responses whose items stand in a job's own conversation, newest first.

        Raises UnreadableError where there are items and none names a response: something came, and
        what was made of it is unknown, so that neither "found" nor "not found" would be true.
        """
        names: dict[str, None] = {}
        unnamed: list[str] = []
        listing = Listing("order=desc")
        while listing.goes_on:
            path = f"/conversations/{segment(thread_id)}/items"
            reply = yield Call("GET", path, listing.query)
            for item in listing.take(reply.body):
                name, role = _author_of(item)
                if name:
                    names[name] = None
                else:
                    unnamed.append(role)
        if unnamed and not names:
            raise UnreadableError(_unnamed(unnamed))
        runs = []
        for name in names:
            run = yield from self.read(thread_id, name, tag)
            runs.append(run)
        return sorted(runs, key=lambda run: (run.created_s, run.id), reverse=True)

    def read(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:  # noqa: ARG002 - a response's id is enough
        """Read one response."""
        reply = yield Call("GET", f"/responses/{segment(run_id)}")
        return read_response(reply.body, tag)

    def cancel(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:  # noqa: ARG002 - a response's id is enough
        """Ask for a response's end; twice is fine, and one at rest is refused by some servers."""
        reply = yield Call("POST", f"/responses/{segment(run_id)}/cancel")
        return read_response(reply.body, tag)

    def submit(
        self, thread_id: str, run_id: str, outputs: Mapping[str, str], tag: Tag
    ) -> Flow[Run]:
        """Raise UnreadableError: calls are answered by another response, and `calls` is empty."""
        return _unasked(thread_id, run_id, outputs, tag)

    def messages(self, thread_id: str, run_id: str) -> Flow[list[bytes]]:  # noqa: ARG002 - a response's id is enough
        """List the messages among the response's output."""
        reply = yield Call("GET", f"/responses/{segment(run_id)}")
        return [raw for raw, sort in _output(reply.body) if sort == "message"]

    def steps(self, thread_id: str, run_id: str, extra: bytes = b"") -> Flow[list[bytes]]:  # noqa: ARG002 - a response's id is enough
        """List what else the response's output holds: reasoning, calls of tools."""
        reply = yield Call("GET", f"/responses/{segment(run_id)}")
        return [raw for raw, sort in _output(reply.body) if sort != "message"]

    def output_text(self, run: bytes, messages: list[bytes]) -> str | None:  # noqa: ARG002 - the response holds its messages
        """Return the text of the response's messages."""
        body = decoded(run)
        output = body.get("output") if isinstance(body, dict) else None
        return written(output) if isinstance(output, list) else None

    def event(self, name: str, data: str, tag: Tag) -> StreamNews:
        """Read one event: `response.…` with the object, text deltas, `error`; else nothing."""
        if data.strip() == "[DONE]":
            return StreamNews(done=True)
        if name not in _TELLING:
            return StreamNews()  # dozens of kinds of events are no news here: not even parsed
        raw = data.encode("utf-8", "replace")
        told = decoded(raw)
        if not isinstance(told, dict):
            return StreamNews()
        kind = told.get("type", name)
        if kind == "error":
            return StreamNews(error=error_in(told.get("error") or told))
        if kind == "response.output_text.delta":
            return StreamNews(delta=text_of(told.get("delta")))
        if not isinstance(told.get("response"), dict):
            return StreamNews()
        try:
            run = read_response(take_apart(raw)["response"], tag)
        except UnreadableError:
            return StreamNews()
        return StreamNews(run=run, done=run.kind is not Kind.ACTIVE)

    def error_of(self, reply: Reply) -> ApiError:
        """Return the error of OpenAI's form or a compatible server's."""
        return error_of(reply)

    def active_run(self, reply: Reply) -> str | None:
        """Return "" for a conversation that another response holds; None otherwise.

        It is not named (paulgmiller/careme#379).
        """
        if reply.status in (400, 409) and error_of(reply).code == "conversation_locked":
            return ""
        return None

    def snippet(self, job: Job, tag: Tag) -> Call:
        """Return the create call with its headers but without the key."""
        return shown(self._creating(job, tag, stream=False), self.headers(None))


def read_response(body: bytes, tag: Tag) -> Run:
    """Return the run that a response object is; a status that is not known counts as failed.

    Raises UnreadableError where the text is no JSON object, or has no id or no status.
    """
    try:
        raw, wire = one_line(body), _WIRE.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raw, parsed = read_object(body)
        try:
            wire = msgspec.convert(parsed, _Wire)
        except msgspec.ValidationError as trouble:
            raise UnreadableError(f"a response without an id or a status: {trouble}") from trouble
    if not wire.id or not wire.status:
        raise UnreadableError("a response without an id or a status")
    kind = STATUSES.get(wire.status, Kind.FAILED)
    value = wire.metadata.get(tag.name) if isinstance(wire.metadata, dict) and tag.name else None
    held = wire.conversation
    return Run(
        id=wire.id,
        status=wire.status,
        kind=kind,
        raw=raw,
        thread_id=text_of(held.get("id")) if isinstance(held, dict) else "",
        tag=value if isinstance(value, str) else "",
        created_s=seconds(wire.created_at),
        ended_s=0.0 if kind is Kind.ACTIVE else seconds(wire.completed_at),
        error=_error(wire),
        usage=read_usage(wire.usage),
    )


def _error(wire: _Wire) -> ApiError | None:
    if isinstance(wire.error, dict) and wire.error:
        return error_in(wire.error)
    details = wire.incomplete_details
    reason = details.get("reason") if isinstance(details, dict) else None
    return ApiError(code=reason) if isinstance(reason, str) and reason else None


def _walked(body: bytes, path: str) -> list[Found]:
    """Return all that is wrong with a body that the declaration refused."""
    try:
        parsed: Json = json.loads(body)
    except RecursionError:
        return [Found(path, "is nested too deeply to be read")]
    notes = {joined(path, name): told for name, told in _ELSEWHERE.items()}
    return faults(parsed, CreateResponse, path, notes)


def _given(fields: RawFields, name: str) -> bool:
    return fields.get(name, b"null") != b"null"


def _object(raw: bytes | None) -> bytes:
    return raw if raw is not None and raw[:1] == b"{" else b"{}"


def _conversation_of(fields: RawFields) -> str | None:
    """Return the id of the conversation that a body names, as text or as an object."""
    if "conversation" not in fields:
        return None
    named = decoded(fields["conversation"])
    if isinstance(named, dict):
        named = named.get("id")
    return named if isinstance(named, str) else None


def _made(body: bytes) -> str:
    _, made = read_object(body)
    name = made.get("id")
    if not isinstance(name, str) or not name:
        raise UnreadableError("a conversation without an id")
    return name


def _author_of(item: bytes) -> tuple[str, str]:
    """Return the response that an item names, "" for none, and its role: outputs have "assistant"."""
    _, told = read_object(item)
    role = text_of(told.get("role")) or "assistant"  # calls and reasoning bear none
    return text_of(told.get("response_id")), role


def _unnamed(roles: list[str]) -> str:
    """Return what items that name no response do prove."""
    if "assistant" in roles:
        return "the conversation has an answer, so a response was made; no item names it"
    return "the conversation has the input; whether a response was made of it no item tells"


def _output(body: bytes) -> list[tuple[bytes, str]]:
    """Return a response's output items, each on one line, and their types."""
    raw, _ = read_object(body)
    output = take_apart(raw).get("output", b"[]")
    items = elements(output) if output[:1] == b"[" else []
    return [(one_line(item), text_of(read_object(item)[1].get("type"))) for item in items]


def _unasked(*_asked: object) -> NoReturn:
    raise UnreadableError("a response ends with its calls: there are no outputs to send")


def make(options: Options) -> Dialect:
    """Make the dialect; its options are `tag` and `conversation` ("1": one for each job)."""
    chosen = settled("responses", options, {"conversation": "0"})
    if chosen["conversation"] not in ("0", "1"):
        raise UsageError(
            f"{quoted(chosen['conversation'])} is neither 0 nor 1",
            where="dialect responses: conversation",
            remedy="set 1 to make a conversation for each job",
        )
    return Responses(chosen["tag"], conversations=chosen["conversation"] == "1")
