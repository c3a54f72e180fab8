"""OpenAI Batch lines to any endpoint: a run is one exchange, and its answer is the run.

For chat completions, embeddings, moderations and whatever else answers a POST at once (reference
10.10). Nothing is kept at the server that could be listed or read again: a doubt cannot be settled
and leaves no trace, so this dialect is `stateless`. What others need too stands here: how a Batch
line is opened.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NoReturn
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

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
from runner.dialects.complaints import faults
from runner.dialects.dialect import Dialect, Options, StreamNews, Tag, UnreadableError
from runner.dialects.fields import BatchEnvelope
from runner.dialects.options import settled
from runner.dialects.refusals import error_in, error_of
from runner.dialects.run_object import one_line, read_object, read_usage, seconds, text_of
from runner.dialects.splice import put_together, take_apart

JSON_HEADERS = (
    ("Accept", "application/json, text/event-stream"),
    ("Content-Type", "application/json"),
)
"""What every request carries: one answer form or the other, by what the call asks for."""

STATELESS = Proofs(stateless=True)

ONCE = "an answer was the whole run: there is nothing at the server to ask for"

_WRITTEN = (
    'no Batch line; write {"custom_id": …, "method": "POST", "url": "/v1/chat/completions",'
    ' "body": {…}}'
)
_UNJUDGED = frozenset({"body", "custom_id"})  # the body below, the custom_id by the reader
_OUTER = frozenset({"custom_id", "method", "url", "body"})
_PATH = re.compile(r"(?:/(?:[\w\-.~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+)+\Z", re.ASCII)
_QUERY = re.compile(r"(?:[\w\-.~!$&'()*+,;=:@/?\[\]]|%[0-9A-Fa-f]{2})*\Z", re.ASCII)
_STEP = re.compile(r"[/\\]\.\.?[/\\]")
_RUNS = re.compile(r"(?:/v\d+)?/threads/(?:[^/]+/)?runs\Z")
_TEXT = msgspec.json.Decoder(str)
_STATUSES = MappingProxyType(
    {"completed": Kind.SUCCEEDED, "failed": Kind.FAILED, "incomplete": Kind.FAILED}
)


class _Answer(msgspec.Struct, gc=False):
    """What of an answer is of interest; thousands of numbers beside it are passed over."""

    id: object = None
    sort: object = msgspec.field(name="object", default=None)
    status: object = None
    error: object = None
    created: object = None
    created_at: object = None
    usage: object = None


_ANSWER = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A Batch line taken apart: `url` as written, `body` the object's bytes as they stood."""

    url: str
    body: bytes


def is_batch(fields: RawFields) -> bool:
    """Whether a line is meant in OpenAI's Batch form; no native line has these names."""
    return "url" in fields or "body" in fields or "method" in fields


def open_batch(fields: RawFields) -> BatchLine | list[Complaint]:
    """Take a Batch line apart, or tell everything that is wrong with its envelope."""
    body = fields.get("body", b"").strip()
    if fields.keys() <= _OUTER and body[:1] == b"{" and fields.get("method") == b'"POST"':
        try:
            return BatchLine(_TEXT.decode(fields.get("url", b"")), body)
        except msgspec.DecodeError:
            pass  # told below, in full
    outer = {name: decoded(raw) for name, raw in fields.items() if name not in _UNJUDGED}
    told = [found.complaint for found in faults(outer, BatchEnvelope, notes=_misplaced(outer))]
    if body[:1] != b"{":
        told.append(Complaint("body", "an object is needed" if body else "missing"))
    return told or BatchLine(str(outer["url"]), body)


def _misplaced(outer: Mapping[str, Json]) -> dict[str, str]:
    return {
        name: "is no field of a Batch line; what the endpoint is to get stands in body"
        for name in outer
        if name not in _OUTER
    }


def decoded(raw: bytes) -> Json:
    """Return a JSON value, or None for bytes that are none; for rare and slow paths."""
    try:
        value: Json = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value


@dataclass(frozen=True, slots=True)
class Request:
    """Plain requests. `prefix` is what the base URL ends in and a line's url begins with again."""

    prefix: str = "/v1"
    name: str = "request"
    proofs: Proofs = STATELESS
    base_url: str | None = "https://api.openai.com/v1"
    url_variables: tuple[str, ...] = ("OPENAI_BASE_URL",)
    key_variables: tuple[str, ...] = ("OPENAI_API_KEY",)

    @property
    def statuses(self) -> Mapping[str, Kind]:
        """`completed` is our word for a good answer; the others are a Responses object's own."""
        return _STATUSES

    def headers(self, secret: str | None) -> tuple[tuple[str, str], ...]:
        """Return JSON's headers, and the key as a bearer token where there is one."""
        return bearer(secret)

    def check(self, line: bytes, fields: RawFields, *, lenient: bool) -> Accepted | list[Complaint]:  # noqa: ARG002 - the interface's names; an endpoint's fields are unknown here
        """Accept a Batch line of any endpoint; its body is not judged beyond what Runner needs."""
        if not is_batch(fields):
            return [Complaint("", _WRITTEN)]
        opened = open_batch(fields)
        if isinstance(opened, list):
            return opened
        wrong = _wrong_url(opened.url, self.prefix)
        told = [Complaint("url", wrong)] if wrong else []
        body = take_apart(opened.body)
        told += _wrong_body(body)
        if told:
            return told
        model = decoded(body["model"]) if "model" in body else None
        return Accepted(
            thread_id=None,
            body=opened.body,
            extra=put_together({"url": fields["url"].strip()}),
            lane=f"{opened.url} {model}" if isinstance(model, str) else opened.url,
        )

    def makes_thread(self, job: Job) -> bool:  # noqa: ARG002 - the interface's name
        """Never: there are no threads."""
        return False

    def make_thread(self, job: Job, tag: Tag) -> Flow[str]:
        """Raise UnreadableError: there are no threads."""
        return _nothing(job, tag)

    def create(self, job: Job, tag: Tag, *, stream: bool) -> Flow[Run]:  # noqa: ARG002 - no run to tag or stream
        """Send the request; its answer is the run at its end."""
        reply = yield self._call(job)
        return _read(reply, job.key)

    def _call(self, job: Job) -> Call:
        path, _, query = _TEXT.decode(take_apart(job.extra)["url"]).partition("?")
        return Call(
            "POST",
            _path_of(path, self.prefix),
            query,
            job.body,
            headers=(("Idempotency-Key", job.key),),
            creates=True,
        )

    def runs_of(self, thread_id: str, since_s: float, tag: Tag) -> Flow[list[Run]]:
        """Raise UnreadableError: nothing is kept."""
        return _nothing(thread_id, since_s, tag)

    def read(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Raise UnreadableError: nothing is kept."""
        return _nothing(thread_id, run_id, tag)

    def cancel(self, thread_id: str, run_id: str, tag: Tag) -> Flow[Run]:
        """Raise UnreadableError: a run that is known has ended."""
        return _nothing(thread_id, run_id, tag)

    def submit(
        self, thread_id: str, run_id: str, outputs: Mapping[str, str], tag: Tag
    ) -> Flow[Run]:
        """Raise UnreadableError: a run that is known has ended."""
        return _nothing(thread_id, run_id, outputs, tag)

    def messages(self, thread_id: str, run_id: str) -> Flow[list[bytes]]:
        """Raise UnreadableError: the answer is in the run."""
        return _nothing(thread_id, run_id)

    def steps(self, thread_id: str, run_id: str, extra: bytes = b"") -> Flow[list[bytes]]:
        """Raise UnreadableError: there are none."""
        return _nothing(thread_id, run_id, extra)

    def output_text(self, run: bytes, messages: list[bytes]) -> str | None:  # noqa: ARG002 - the interface's name
        """Return the text of a chat completion, a completion or a response."""
        body = decoded(run)
        if not isinstance(body, dict):
            return None
        output, choices = body.get("output"), body.get("choices")
        if isinstance(output, list):
            return written(output)
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, dict):
            return None
        message = first.get("message")
        text = message.get("content") if isinstance(message, dict) else first.get("text")
        return text if isinstance(text, str) else None

    def event(self, name: str, data: str, tag: Tag) -> StreamNews:  # noqa: ARG002 - the interface's names
        """Tell nothing: nothing is streamed."""
        return StreamNews()

    def error_of(self, reply: Reply) -> ApiError:
        """Return the error in any of the known forms."""
        return error_of(reply)

    def active_run(self, reply: Reply) -> str | None:  # noqa: ARG002 - the interface's name
        """Return None: no thread, no lock."""
        return None

    def snippet(self, job: Job, tag: Tag) -> Call:  # noqa: ARG002 - the interface's name
        """Return the request with its headers but without the key."""
        return shown(self._call(job), self.headers(None))


@lru_cache(maxsize=256)  # a file's lines share a few urls
def _wrong_url(url: str, prefix: str) -> str:
    """Return what is wrong with a line's url, or ""."""
    path, _, query = url.partition("?")
    if not path.startswith("/") or path.startswith("//"):
        return f"{quoted(url)} is no path; write it without scheme and host, as /v1/…"
    # "/v1//host/x" would become "//host/x" once the prefix is gone: another origin.
    if not _PATH.match(path) or not _QUERY.match(query):
        return f"{quoted(url)} is no path; percent-encode what is no letter, digit or -._~"
    if _STEP.search(f"{unquote(path)}/"):
        return f"{quoted(url)} leaves the base URL; write the path without . and .."
    if _RUNS.match(path):
        return f"{quoted(url)} makes a run, which must be followed; use --dialect openai"
    return "" if _path_of(path, prefix) else f"{quoted(url)} names no endpoint"


def _path_of(path: str, prefix: str) -> str:
    inside = path == prefix or path.startswith(f"{prefix}/")
    return path[len(prefix) :] if inside else path


def claims_tag(fields: RawFields, tag: str) -> str:
    """Return what is wrong with metadata that has a pair of the tag's name, or ""."""
    metadata = fields.get("metadata", b"null")
    # Most metadata does not; where no escape can hide the name, its bytes tell.
    if not tag or metadata[:1] != b"{" or (tag.encode() not in metadata and b"\\" not in metadata):
        return ""
    if tag not in take_apart(metadata):
        return ""
    told = f"the name {quoted(tag)} is that of Runner's own tag"
    return f"{told}; rename it, or name the tag differently"


def bearer(secret: str | None) -> tuple[tuple[str, str], ...]:
    """Return JSON's headers, and the key as a bearer token where there is one."""
    return (*JSON_HEADERS, ("Authorization", f"Bearer {secret}")) if secret else JSON_HEADERS


def shown(call: Call, headers: tuple[tuple[str, str], ...]) -> Call:
    """Return a call with all its headers, as a snippet shows it."""
    return replace(call, headers=(*headers, *call.headers))


def written(output: list[Json]) -> str | None:
    """Return the text of a response's output items, or None where it wrote none."""
    texts = [
        part["text"]
        for one in output
        if isinstance(one, dict) and one.get("type") == "message"
        for part in _parts(one.get("content"))
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    return "".join(str(text) for text in texts) if texts else None


def _parts(content: Json) -> list[Json]:
    return content if isinstance(content, list) else []


def _nothing(*_asked: object) -> NoReturn:
    raise UnreadableError(ONCE)


def _wrong_body(body: RawFields) -> list[Complaint]:
    told = []
    if body.get("stream") == b"true":
        what = "true is not followed by this dialect; set false, or drop the field"
        told.append(Complaint("body.stream", what))
    if body.get("background") == b"true":
        what = "true makes a run, which must be followed; use --dialect responses"
        told.append(Complaint("body.background", what))
    return told


def _read(reply: Reply, key: str) -> Run:
    name = reply.request_id or key
    if reply.body.lstrip()[:1] == b"[" and isinstance(decoded(reply.body), list):
        # Some embedding servers answer with the bare vectors.
        return Run(name, "completed", Kind.SUCCEEDED, one_line(reply.body))
    try:
        raw, answer = one_line(reply.body), _ANSWER.decode(reply.body)
    except (msgspec.DecodeError, RecursionError):
        raw, parsed = read_object(reply.body)
        answer = msgspec.convert(parsed, _Answer)
    status = _status(answer)
    return Run(
        id=text_of(answer.id) or name,
        status=status,
        kind=_STATUSES[status],
        raw=raw,
        created_s=seconds(answer.created_at or answer.created),
        error=error_in(answer.error) if isinstance(answer.error, dict) and answer.error else None,
        usage=read_usage(answer.usage),
    )


def _status(answer: _Answer) -> str:
    status = answer.status
    if answer.sort == "response" and isinstance(status, str) and status in _STATUSES:
        return status
    # Gateways answer 200 and say in the body that the model failed; a good answer has null or none.
    return "failed" if isinstance(answer.error, dict) and answer.error else "completed"


def make(options: Options) -> Dialect:
    """Make the dialect; its one option is `prefix` ("/v1"; "" where the base URL has none)."""
    chosen = settled("request", options, {"prefix": "/v1"})
    prefix = chosen["prefix"].rstrip("/")
    if prefix and not prefix.startswith("/"):
        raise UsageError(
            f"{quoted(prefix)} is no path",
            where="dialect request: prefix",
            remedy="begin it with /",
        )
    return Request(prefix)
