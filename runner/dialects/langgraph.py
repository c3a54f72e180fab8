"""LangGraph's Agent Server (LangGraph Platform, LangSmith Deployment) and servers of its shape.

What differs from the OpenAI shape ("seen": a server of langgraph-api 0.16.7 on loopback, whose
openapi.json is the source of the declarations below):

- Thread ids are UUIDs that the client may choose, so the thread of a job is the same at each try.
- A run *inherits its thread's metadata* (seen): a thread is therefore never tagged, else another's
  run on it would look like ours. For the same reason a run is never sent with `if_not_exists:
  create`: the thread that it makes keeps the run's metadata, our tag too (seen).
- Unknown body fields are taken without a word (seen), so only `check` can tell a misspelt one.
- `Content-Location` names the run even where the answer's body is of no use.
- A busy thread is refused without the run's name: 409 (Python server), 422 (JavaScript server).
- The list is a bare array with offset paging in no documented order: all of it is read.
- A cancelled run ends as `interrupted`. A pause for a person ends as `success` (seen; older
  servers: `interrupted` too), with the question in the thread's state.
- The run object holds no error text; the state that a failed run left does (`tasks[].error`), so
  reading such a run asks for it.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal, NoReturn, TypeAlias
from urllib.parse import unquote
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from runner.core.call import Call, Flow, Reply
from runner.core.errors import quoted
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
from runner.dialects.fields import AnyObject, Id, ThreadId
from runner.dialects.openai import segment
from runner.dialects.options import settled
from runner.dialects.refusals import error_of
from runner.dialects.request import JSON_HEADERS, claims_tag, decoded, is_batch, open_batch, shown
from runner.dialects.run_object import cut, one_line, read_object, seconds, text_of
from runner.dialects.splice import put_together, tagged, take_apart

PAGE = 100
"""Runs asked for at once; the documented default is 10, no bound is."""

SHORT = 10
"""A page of fewer runs is the last one. Not `PAGE`: a server that caps or ignores `limit` sends ten
or more, and taking such a page for the end would hide a run."""

READINGS = 5
"""How often a list that loses runs while it is read is begun again."""

STATES = 1000
"""States asked for at once; the documented bound."""

THREADS = UUID("36e85df9-78b1-5e7e-b57f-23931dd70e15")
"""The name space of thread ids made from a job's key."""

PROOFS = Proofs(lists=True, tags=True, locks=True)

STATUSES = MappingProxyType(
    {
        "pending": Kind.ACTIVE,
        "running": Kind.ACTIVE,
        "success": Kind.SUCCEEDED,
        "error": Kind.FAILED,
        "timeout": Kind.FAILED,
        # A pause for a person and a cancel look the same on older servers. Nothing Runner could
        # send would move such a run on, so it is at rest; whether a cancel was asked is the job's
        # to know.
        "interrupted": Kind.CANCELLED,
    }
)

_ALWAYS = {
    "multitask_strategy": b'"reject"',
    "on_disconnect": b'"continue"',
    "if_not_exists": b'"reject"',
}
_OTHER_STRATEGIES = (b'"enqueue"', b'"interrupt"', b'"rollback"')
_OURS = ("ai", "AIMessage", "assistant")
_BESIDE = frozenset({"custom_id", "thread_id", "thread"})
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z", re.IGNORECASE)
_URL = re.compile(r"(?:/v1)?/threads/([^/?#]+)/runs\Z")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PLACE = re.compile(r"/threads/([^/?#]+)/runs/([^/?#]+)")
_RAISED = re.compile(r"(\w+)\((.*)\)\Z", re.DOTALL)
_NULL = Raw(b"null")

Nodes: TypeAlias = Literal["*"] | list[str]
StreamMode: TypeAlias = Literal[
    "values",
    "messages",
    "messages-tuple",
    "tasks",
    "checkpoints",
    "updates",
    "events",
    "debug",
    "custom",
]


class Config(Struct, gc=False):
    """How the graph is run; the graph may look for more in it than the reference names."""

    tags: list[str] | UnsetType = UNSET
    recursion_limit: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    configurable: AnyObject | UnsetType = UNSET


class Command(Struct, forbid_unknown_fields=True, gc=False):
    """What a graph that was interrupted goes on with: values of any kind."""

    update: Raw = _NULL
    resume: Raw = _NULL
    goto: Raw = _NULL


class Checkpoint(Struct, forbid_unknown_fields=True, gc=False):
    """Where in the thread's history to begin."""

    thread_id: str | UnsetType = UNSET
    checkpoint_ns: str | UnsetType = UNSET
    checkpoint_id: str | UnsetType | None = UNSET
    checkpoint_map: AnyObject | UnsetType | None = UNSET


class CreateRun(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The body of create run (schema RunCreateStateful, and what the SDK sends besides).

    A field without None is refused by the server where it is null (422, seen).
    """

    assistant_id: Id
    input: Raw = _NULL
    command: Command | None = None
    config: Config | UnsetType = UNSET
    context: AnyObject | UnsetType = UNSET
    metadata: AnyObject | UnsetType = UNSET
    checkpoint: Checkpoint | UnsetType = UNSET
    checkpoint_id: str | UnsetType = UNSET
    checkpoint_during: bool | UnsetType = UNSET
    webhook: Annotated[str, Meta(min_length=1, max_length=65_536)] | UnsetType = UNSET
    interrupt_before: Nodes | UnsetType = UNSET
    interrupt_after: Nodes | UnsetType = UNSET
    stream_mode: StreamMode | list[StreamMode] | UnsetType = UNSET
    stream_subgraphs: bool | UnsetType = UNSET
    stream_resumable: bool | UnsetType = UNSET
    on_disconnect: Literal["cancel", "continue"] | UnsetType = UNSET
    feedback_keys: list[str] | UnsetType = UNSET
    multitask_strategy: Literal["reject", "rollback", "interrupt", "enqueue"] | UnsetType = UNSET
    if_not_exists: Literal["create", "reject"] | UnsetType = UNSET
    after_seconds: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    durability: Literal["sync", "async", "exit"] | UnsetType = UNSET
    langsmith_tracer: AnyObject | UnsetType = UNSET


class Ttl(Struct, forbid_unknown_fields=True, gc=False):
    """How long a thread is kept, in minutes."""

    ttl: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    strategy: Literal["delete", "keep_latest"] | UnsetType = UNSET


class Thread(Struct, forbid_unknown_fields=True, gc=False):
    """A thread to be made for the job; its id and `if_exists` are Runner's."""

    metadata: AnyObject | UnsetType = UNSET
    ttl: Ttl | UnsetType = UNSET
    supersteps: list[AnyObject] | UnsetType = UNSET


_BODY = msgspec.json.Decoder(CreateRun)
_THREAD = msgspec.json.Decoder(Thread)
_ELSEWHERE = {
    "stream": "no such field; whether a run is followed by its stream is --stream's to say",
    "on_completion": "no such field of a run on a thread",
    "thread_id": "belongs beside the body: in the url, or at the top of a native line",
}
_IN_THREAD = {
    "thread.thread_id": "belongs beside `thread`, not into it; give one of the two",
    "thread.if_exists": "is Runner's own; drop the field",
}


class _Wire(Struct, gc=False):
    """The run object; the SDK's own needs no more of it than its id and status."""

    run_id: str
    status: str
    thread_id: object = None
    metadata: object = None
    created_at: object = None
    updated_at: object = None
    error: object = None


class _Task(Struct, gc=False):
    error: object = None


class _State(Struct, gc=False):
    values: Raw = _NULL
    tasks: list[_Task] = []


_WIRE = msgspec.json.Decoder(_Wire)
_LIST = msgspec.json.Decoder(list[Raw])
_STATE = msgspec.json.Decoder(_State)
_STATES = msgspec.json.Decoder(list[_State])


@dataclass(frozen=True, slots=True)
class LangGraph:
    """An Agent Server. `tag` is the name of Runner's own pair in a run's metadata, "" for none."""

    tag: str = "runner_key"
    name: str = "langgraph"
    proofs: Proofs = PROOFS
    base_url: str | None = None
    url_variables: tuple[str, ...] = ("LANGGRAPH_API_URL", "LANGGRAPH_URL")
    key_variables: tuple[str, ...] = (
        "LANGGRAPH_API_KEY",
        "LANGSMITH_API_KEY",
        "LANGCHAIN_API_KEY",
    )

    @property
    def statuses(self) -> Mapping[str, Kind]:
        """The server's six words."""
        return STATUSES

    def headers(self, secret: str | None) -> tuple[tuple[str, str], ...]:
        """Return JSON's headers, and the key as LangSmith wants it."""
        return (*JSON_HEADERS, ("x-api-key", secret)) if secret else JSON_HEADERS

    def check(self, line: bytes, fields: RawFields, *, lenient: bool) -> Accepted | list[Complaint]:  # noqa: ARG002 - the fields are the whole line
        """Validate a native line, or a Batch line whose url is /threads/{thread_id}/runs."""
        if not is_batch(fields):
            body = {name: value for name, value in fields.items() if name not in _BESIDE}
            return self._checked(fields, body, put_together(body), "", lenient=lenient)
        opened = open_batch(fields)
        if isinstance(opened, list):
            return opened
        place = _URL.match(opened.url)
        if place is None:
            what = f"{quoted(opened.url)} makes no run; write /threads/{{thread_id}}/runs"
            return [Complaint("url", what)]
        beside = {"thread_id": msgspec.json.encode(unquote(place[1]))}
        body = take_apart(opened.body)
        return self._checked(beside, body, opened.body, "body", lenient=lenient)

    def _checked(
        self, beside: RawFields, fields: RawFields, body: bytes, path: str, *, lenient: bool
    ) -> Accepted | list[Complaint]:
        thread_id = _thread_id(beside.get("thread_id", b"null"))
        thread = beside.get("thread", b"null").strip()
        found = _wrong_thread_id(thread_id, "url" if path else "thread_id")
        found += [] if thread == b"null" else _wrong_thread(thread, thread_id)
        try:
            assistant_id = _BODY.decode(body).assistant_id
        except (msgspec.DecodeError, RecursionError):
            assistant_id, wrong = _walked(body, path)
            found += wrong
        found += self._at_odds(fields, path, thread_id)
        told = [one.complaint for one in found if not (lenient and one.unknown)]
        if told:
            return told
        return Accepted(
            thread_id=thread_id if isinstance(thread_id, str) else None,
            body=body,
            extra=b"" if thread == b"null" else put_together({"thread": thread}),
            lane=assistant_id,
        )

    def _at_odds(self, fields: RawFields, path: str, thread_id: Json) -> list[Found]:
        """Return what the fields are each right about but not together, or not with Runner."""
        found: list[Found] = []

        def tell(name: str, what: str) -> None:
            found.append(Found(joined(path, name), what))

        if fields.get("multitask_strategy") in _OTHER_STRATEGIES:
            # With enqueue a late copy of a create runs too; interrupt and rollback end the run
            # that came first (protocol.md 8, change 14).
            tell("multitask_strategy", "only 'reject' keeps one run a job; drop the field")
        if fields.get("on_disconnect") == b'"cancel"':
            what = "'cancel' would end the run with its connection; drop the field"
            tell("on_disconnect", what)
        if fields.get("if_not_exists") == b'"create"' and thread_id is None:
            tell("if_not_exists", "'create' needs a thread_id; drop it: a thread is made anyway")
        if _given(fields, "input") and _given(fields, "command"):
            tell("command", "stands beside input; give one of them")
        claimed = claims_tag(fields, self.tag)
        if claimed:
            tell("metadata", claimed)
        return found

    def makes_thread(self, job: Job) -> bool:
        """Whether the job has no thread, or names one that is to be made where it is missing."""
        return job.thread_id is None or _makes_missing(job.body)

    def make_thread(self, job: Job, tag: Tag) -> Flow[str]:  # noqa: ARG002 - a run inherits its thread's metadata: a tag there would claim every run on it
        """Make the job's thread under an id that follows from its key, so that a repeat finds it.

        A thread that the job names is made under its own id; where it is there, nothing happens. A
        thread that begins with `supersteps` gets an id from the server: a repeat would apply them
        again to the thread that is there (seen).
        """
        thread = dict(take_apart(take_apart(job.extra)["thread"])) if job.extra else {}
        if "supersteps" not in thread:
            thread["thread_id"] = msgspec.json.encode(job.thread_id or uuid5(THREADS, job.key))
        thread["if_exists"] = b'"do_nothing"'
        reply = yield Call("POST", "/threads", body=put_together(thread))
        _, made = read_object(reply.body)
        thread_id = made.get("thread_id")
        if not isinstance(thread_id, str) or not thread_id:
            raise UnreadableError("a thread without an id")
        return thread_id

    def create(self, job: Job, tag: Tag, *, stream: bool) -> Flow[Run]:
        """Create the job's run; its id is in a header even where the body is of no use."""
        reply = yield self._creating(job, tag, stream=stream)
        try:
            return read_run(reply.body, tag)
        except UnreadableError:
            place = _PLACE.search(reply.headers.get("content-location", ""))
            if place is None:
                raise
            thread_id, run_id = unquote(place[1]), unquote(place[2])
            raw = msgspec.json.encode({"run_id": run_id, "thread_id": thread_id})
            return Run(run_id, "pending", Kind.ACTIVE, raw, thread_id)

    def _creating(self, job: Job, tag: Tag, *, stream: bool) -> Call:
        if job.thread_id is None:
            raise ValueError(f"job {job.custom_id} has no thread yet")
        fields = tagged(take_apart(job.body), tag.name, job.key)
        fields.update(_ALWAYS)
        return Call(
            "POST",
            f"{_runs_path(job.thread_id)}/stream" if stream else _runs_path(job.thread_id),
            body=put_together(fields),
            headers=(("Idempotency-Key", job.key),),
            creates=True,
            streams=stream,
        )

    def runs_of(self, thread_id: str, since_s: float, tag: Tag) -> Flow[list[Run]]:  # noqa: ARG002 - in an unknown order no page is the last one wanted
        """List all runs of a thread, newest first, whatever the server's order.

        Raises UnreadableError where the list loses runs at every reading.
        """
        for _ in range(READINGS):
            runs = yield from self._whole_list(thread_id, tag)
            if runs is not None:
                return sorted(runs, key=lambda run: (run.created_s, run.id), reverse=True)
        raise UnreadableError("the list of runs lost some at each reading")

    def _whole_list(self, thread_id: str, tag: Tag) -> Flow[list[Run] | None]:
        """List by overlapping pages; None where a run was deleted meanwhile and may hide another.

        Each page begins with the last run of the one before. A deletion before it moves everything
        up by one, and the page's first run would be passed over unseen: then it is missing here.
        """
        runs: dict[str, Run] = {}
        offset, last = 0, ""
        while True:
            query = f"limit={PAGE}&offset={offset}"
            reply = yield Call("GET", _runs_path(thread_id), query)
            page = [read_run(bytes(one), tag) for one in _list_of(reply.body)]
            names = [run.id for run in page]
            if last and last not in names:
                return None
            fresh = [run for run in page if run.id not in runs]
            runs.update((run.id, run) for run in fresh)
            if not fresh or len(page) < SHORT:
                return list(runs.values())
            offset, last = offset + len(page) - 1, names[-1]

    def read(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Read one run; of a failed one that tells no error, ask the state in which it ended."""
        reply = yield Call("GET", _run_path(thread_id, run_id))
        run = read_run(reply.body, tag)
        if run.kind is not Kind.FAILED or run.error is not None:
            return run
        history = yield _history(thread_id, run_id, 1, optional=True)
        return replace(run, error=_raised(history))

    def cancel(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Interrupt a run (`rollback` would delete it, and the evidence) and read it.

        The first answer is 202 without a body, or 404 for a run that has ended (both seen).
        """
        yield Call("POST", f"{_run_path(thread_id, run_id)}/cancel", "wait=0&action=interrupt")
        return (yield from self.read(thread_id, run_id, tag))

    def submit(
        self, thread_id: str, run_id: str, outputs: Mapping[str, str], tag: Tag
    ) -> Flow[Run]:
        """Raise UnreadableError: a graph calls its tools itself, and `calls` is always empty."""
        return _unasked(thread_id, run_id, outputs, tag)

    def messages(self, thread_id: str, run_id: str) -> Flow[list[bytes]]:
        """List the messages of the state in which the run left the thread, earlier ones included.

        By the run and not by the thread, on which another run may have gone on
        (bytedance/deer-flow#1465).
        """
        reply = yield _history(thread_id, run_id, 1)
        states = [_STATE.decode(one) for one in _list_of(reply.body)]
        values = _members(states[0].values) if states else {}
        messages = values.get("messages", b"")
        if messages[:1] != b"[":
            return []
        return [one_line(bytes(one)) for one in _list_of(messages)]

    def steps(self, thread_id: str, run_id: str, extra: bytes = b"") -> Flow[list[bytes]]:  # noqa: ARG002 - nothing to include
        """List the states that the run wrote, oldest first; a failed one tells why in `tasks`."""
        reply = yield _history(thread_id, run_id, STATES)
        return [one_line(bytes(one)) for one in reversed(_list_of(reply.body))]

    def output_text(self, run: bytes, messages: list[bytes]) -> str | None:  # noqa: ARG002 - the run object holds no answer
        """Return the last message's text if the graph wrote it, in LangChain's form or OpenAI's."""
        message = decoded(messages[-1]) if messages else None
        if not isinstance(message, dict) or message.get("type", message.get("role")) not in _OURS:
            return None
        return _text_in(message.get("content"))

    def event(self, name: str, data: str, tag: Tag) -> StreamNews:  # noqa: ARG002 - the stream names no metadata
        """Read one event of `/runs/stream`.

        The first, `metadata`, holds the run's id and no more. A run that fails sends `error` and
        the body ends; one that succeeds just ends (seen), or sends `end` (older servers).
        """
        kind = name.partition("|")[0]  # "messages|subgraph:…"
        if kind == "end":
            return StreamNews(done=True)
        if kind not in ("metadata", "error", "messages"):
            return StreamNews()
        told = decoded(data.encode("utf-8", "replace"))
        if kind == "messages":
            return StreamNews(delta=_chunk(told))
        if not isinstance(told, dict):
            return StreamNews()
        if kind == "error":
            return StreamNews(done=True, error=_failure(told))
        run_id = told.get("run_id")
        if not isinstance(run_id, str) or not run_id:
            return StreamNews()
        return StreamNews(run=Run(run_id, "running", Kind.ACTIVE, one_line(data.encode())))

    def error_of(self, reply: Reply) -> ApiError:
        """Return the error: `detail` in practice, as text or as FastAPI's list."""
        return error_of(reply)

    def active_run(self, reply: Reply) -> str | None:
        """Return "" for a busy thread, whose run is not named; None for another refusal.

        The text decides: 409 is also "thread exists", 422 also a validation error
        (langchain-ai/open-canvas#296).
        """
        if reply.status in (409, 422) and "already running" in error_of(reply).message.lower():
            return ""
        return None

    def snippet(self, job: Job, tag: Tag) -> Call:
        """Return the create call with its headers but without the key."""
        return shown(self._creating(job, tag, stream=False), self.headers(None))


def read_run(body: bytes, tag: Tag) -> Run:
    """Return the run that a JSON text holds; a status that is not known counts as failed.

    Raises UnreadableError where the text is no JSON object, or has no run_id or no status.
    """
    try:
        raw, wire = one_line(body), _WIRE.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raw, parsed = read_object(body)
        try:
            wire = msgspec.convert(parsed, _Wire)
        except msgspec.ValidationError as trouble:
            raise UnreadableError(f"a run without an id or a status: {trouble}") from trouble
    if not wire.run_id or not wire.status:
        raise UnreadableError("a run without an id or a status")
    kind = STATUSES.get(wire.status, Kind.FAILED)
    value = wire.metadata.get(tag.name) if isinstance(wire.metadata, dict) and tag.name else None
    return Run(
        id=wire.run_id,
        status=wire.status,
        kind=kind,
        raw=raw,
        thread_id=text_of(wire.thread_id),
        tag=value if isinstance(value, str) else "",
        created_s=seconds(wire.created_at),
        ended_s=0.0 if kind is Kind.ACTIVE else seconds(wire.updated_at),
        # Not in the reference; deer-flow's runs have it.
        error=_failure({"message": wire.error}) if wire.error and kind is Kind.FAILED else None,
    )


def _thread_id(raw: bytes) -> Json:
    if _UUID.fullmatch(raw[1:-1].decode("ascii", "replace")) and raw[:1] == b'"':
        return raw[1:-1].decode()
    value: Json = json.loads(raw)
    return value


def _wrong_thread_id(thread_id: Json, path: str) -> list[Found]:
    if thread_id is None or (isinstance(thread_id, str) and _UUID.match(thread_id)):
        return []
    found = faults(thread_id, ThreadId, path)
    if isinstance(thread_id, str) and _SURROGATE.search(thread_id):
        found.append(Found(path, f"the thread id {thread_id!a} has half a character"))
    if not found:
        # A server of this shape may have ids of another: --lenient sends it.
        found.append(Found(path, f"the thread id {quoted(thread_id)} is no UUID", unknown=True))
    return found


def _wrong_thread(thread: bytes, thread_id: Json) -> list[Found]:
    if thread_id is not None:
        return [Found("thread", "stands beside thread_id; give one of them")]
    try:
        _THREAD.decode(thread)
    except (msgspec.DecodeError, RecursionError):
        return faults(json.loads(thread), Thread, "thread", _IN_THREAD)
    return []


def _walked(body: bytes, path: str) -> tuple[str, list[Found]]:
    """Return the assistant and all that is wrong with a body that the declaration refused."""
    try:
        parsed: Json = json.loads(body)
    except RecursionError:
        return "", [Found(path, "is nested too deeply to be read")]
    if not isinstance(parsed, dict):
        return "", [Found(path, "is no JSON object")]
    assistant_id = parsed.get("assistant_id")
    # A lone surrogate is JSON by its grammar, and nothing that a lane's row could hold.
    lane = str(assistant_id).encode("utf-8", "replace").decode()
    return lane, faults(parsed, CreateRun, path, _notes(path))


def _notes(path: str) -> dict[str, str]:
    return {joined(path, name): told for name, told in _ELSEWHERE.items()}


def _given(fields: RawFields, name: str) -> bool:
    return fields.get(name, b"null") != b"null"


def _runs_path(thread_id: str) -> str:
    return f"/threads/{segment(thread_id)}/runs"


def _run_path(thread_id: str, run_id: str) -> str:
    return f"{_runs_path(thread_id)}/{segment(run_id)}"


def _history(thread_id: str, run_id: str, limit: int, *, optional: bool = False) -> Call:
    body = msgspec.json.encode({"limit": limit, "metadata": {"run_id": run_id}})
    return Call("POST", f"/threads/{segment(thread_id)}/history", body=body, optional=optional)


def _list_of(body: bytes) -> list[Raw]:
    try:
        return _LIST.decode(body)
    except (msgspec.DecodeError, RecursionError) as trouble:
        raise UnreadableError(f"no list: {trouble}") from trouble


def _members(values: Raw) -> dict[str, bytes]:
    """Return the members of a state's values; a graph's state need be no object."""
    return take_apart(bytes(values)) if bytes(values)[:1] == b"{" else {}


def _text_in(content: Json) -> str | None:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [text_of(part["text"]) for part in parts if isinstance(part, dict) and "text" in part]
    return "".join(texts) if texts else None


def _chunk(told: Json) -> str:
    """Return the text of a message chunk: `[chunk, where it comes from]` (mode messages-tuple)."""
    chunk = told[0] if isinstance(told, list) and told else None
    if not isinstance(chunk, dict) or chunk.get("type") != "AIMessageChunk":
        return ""
    return _text_in(chunk.get("content")) or ""


def _failure(told: Mapping[str, object]) -> ApiError:
    """Return a graph's failure: its exception's name as the type, its text as the message."""
    return ApiError(
        type=text_of(told.get("error")).lower(), message=cut(text_of(told.get("message")))
    )


def _raised(history: Reply) -> ApiError | None:
    """Return what a run's last state says of its failure, None where it says nothing.

    A task's error is the text of an exception, `ValueError('what')` (seen).
    """
    try:
        states = _STATES.decode(history.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    errors = [text_of(task.error) for state in states for task in state.tasks if task.error]
    if not errors:
        return None
    raised = _RAISED.match(errors[0])
    if raised is None:
        return _failure({"message": errors[0]})
    return _failure({"error": raised[1], "message": _unquoted(raised[2])})


def _unquoted(text: str) -> str:
    """Return the text of a string as Python writes it; anything else as it is."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def _makes_missing(body: bytes) -> bool:
    """Whether a create's body asks for its thread to be made where it is missing."""
    return b'"create"' in body and take_apart(body).get("if_not_exists") == b'"create"'


def _unasked(*_asked: object) -> NoReturn:
    raise UnreadableError("a graph calls its tools itself: there are no outputs to send")


def make(options: Options) -> Dialect:
    """Make the dialect; its one option is `tag`."""
    return LangGraph(settled("langgraph", options, {})["tag"])
