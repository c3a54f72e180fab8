"""Checks a manifest line of an OpenAI-shaped API: its native form, or OpenAI's Batch form.

A good line costs one decode into a struct. A line that the structs refuse is parsed again and
walked, so that its writer hears of everything at once.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

from runner.core.model import Accepted, Complaint, Json, RawFields
from runner.dialects.complaints import Found, faults, visible
from runner.dialects.fields import (
    FEWEST_COMPLETION_TOKENS,
    MANY_MESSAGES,
    PAIRS,
    Include,
    Shape,
    SharedFields,
    ThreadId,
)
from runner.dialects.splice import put_together, take_apart

BESIDE = ("thread", "include", "tool_outputs")
"""What a native line may have beside the body and its thread; kept as `Accepted.extra`."""

_NO_BODY = frozenset({"custom_id", "thread_id", *BESIDE})
_URL = re.compile(r"(?:/v1)?/threads/([^/?#]+)/runs(?:\?([^#]*))?\Z")
PLAIN_LENGTH = 64
"""No thread id of this length or less can be too long."""

_IN_BODY = "body.thread_id"


class Target(Struct, frozen=True):
    """Where a Batch line's url leads."""

    thread_id: str
    include: tuple[str, ...] = ()


class _OddError(Exception):
    """The structs like the line, and yet it must be walked."""


class LineCheck:
    """Checks lines against one dialect's declarations.

    `tag` is the name of Runner's own metadata pair, "" for none: it needs room. `unlisted` are
    fields that the API's reference does not list though its relatives have them: warned of.
    `elsewhere` says of names that are unknown in the body where they are known.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        tag: str,
        unlisted: Mapping[str, str] | None = None,
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        self.shape = shape
        self.tag = tag
        self.unlisted = unlisted or {}
        # Made once: making a decoder costs more than a hundred lines.
        self._native = msgspec.json.Decoder(shape.native)
        self._batch = msgspec.json.Decoder(shape.batch)
        # The struct has seen to it that there is no other name.
        self._keys = {name: f'"{name}":'.encode() for name in shape.body.__struct_fields__}
        self._notes = _notes(shape, elsewhere or {})

    def __call__(
        self, line: bytes, fields: RawFields, *, lenient: bool
    ) -> Accepted | list[Complaint]:
        """Return the accepted line, or every complaint about it."""
        batch = "body" in fields or "url" in fields or "method" in fields
        try:
            return self._good_batch(line, fields) if batch else self._good_native(line, fields)
        except (msgspec.DecodeError, RecursionError, _OddError):
            return self._walked(line, fields, batch=batch, lenient=lenient)

    def _good_native(self, line: bytes, fields: RawFields) -> Accepted:
        told = self._native.decode(line)
        thread = told.thread
        keys = self._keys
        if thread is not None and told.thread_id is not None:
            raise _OddError
        if told.metadata is not None and self._no_room(told.metadata):
            raise _OddError
        warnings = self._mild(told, fields, "") if isinstance(told, SharedFields) else ()
        if thread is not None and len(thread.messages) > MANY_MESSAGES:
            warnings = (*warnings, _many("thread.messages", len(thread.messages)))
        return Accepted(
            told.thread_id,
            b"{%b}"
            % b",".join([keys[name] + value for name, value in fields.items() if name in keys]),
            _extra(fields),
            f"{told.assistant_id} {told.model}" if told.model else told.assistant_id,
            warnings,
        )

    def _good_batch(self, line: bytes, fields: RawFields) -> Accepted:
        told = self._batch.decode(line)
        body = told.body
        target = _target(told.url)
        if not isinstance(target, Target):
            raise _OddError
        if body.metadata is not None and self._no_room(body.metadata):
            raise _OddError
        warnings: tuple[Complaint, ...] = ()
        if isinstance(body, SharedFields):
            names = take_apart(fields["body"]) if self.unlisted else ()
            warnings = self._mild(body, names, "body.")
        lane = f"{body.assistant_id} {body.model}" if body.model else body.assistant_id
        return Accepted(
            target.thread_id, fields["body"].strip(), _included(target.include), lane, warnings
        )

    def _no_room(self, metadata: Mapping[str, Json] | Mapping[str, str]) -> str:
        if not self.tag:
            return ""
        if self.tag in metadata:
            return (
                f"the name {visible(self.tag)} is that of Runner's own tag; rename it, or name the"
                " tag differently"
            )
        if len(metadata) >= PAIRS:
            return (
                f"has {len(metadata)} pairs, which leaves no room for Runner's tag; drop one, or"
                " go without the tag"
            )
        return ""

    def _mild(self, body: SharedFields, names: Iterable[str], path: str) -> tuple[Complaint, ...]:
        messages = len(body.additional_messages) if body.additional_messages else 0
        if body.max_completion_tokens is None and messages <= MANY_MESSAGES and not self.unlisted:
            return ()
        return tuple(self._warnings(body.max_completion_tokens, messages, names, path))

    def _warnings(
        self, tokens: int | None, messages: int, names: Iterable[str], path: str = ""
    ) -> Iterator[Complaint]:
        if tokens is not None and tokens < FEWEST_COMPLETION_TOKENS:
            told = f"{tokens} is below {FEWEST_COMPLETION_TOKENS}, which servers may refuse"
            yield Complaint(f"{path}max_completion_tokens", told)
        if messages > MANY_MESSAGES:
            yield _many(f"{path}additional_messages", messages)
        if self.unlisted:
            for name in names:
                if name in self.unlisted:
                    yield Complaint(f"{path}{name}", self.unlisted[name])

    def _walked(
        self, line: bytes, fields: RawFields, *, batch: bool, lenient: bool
    ) -> Accepted | list[Complaint]:
        try:
            parsed: Json = json.loads(line, parse_constant=_refuse)
            if not isinstance(parsed, dict):
                return [Complaint("", "is no JSON object; a line holds one object")]
            declared = self.shape.batch if batch else self.shape.native
            found = faults(parsed, declared, "", self._notes)
        except RecursionError:
            return [Complaint("", "is nested too deeply to be read")]
        except ValueError as trouble:
            return [Complaint("", f"cannot be read: {trouble}")]
        url = parsed.get("url")
        target = _target(url) if batch and isinstance(url, str) else None
        if target is not None and not isinstance(target, Target):
            found.append(target)
        body = parsed.get("body") if batch else parsed
        body = body if isinstance(body, dict) else {}
        found.extend(self._at_odds(parsed, body, "body." if batch else ""))
        wrong = [one for one in found if not (lenient and one.unknown and one.path != _IN_BODY)]
        if wrong:
            return [one.complaint for one in wrong]
        return self._accepted(parsed, body, fields, target if isinstance(target, Target) else None)

    def _at_odds(
        self, parsed: dict[str, Json], body: dict[str, Json], path: str
    ) -> Iterator[Found]:
        if parsed.get("thread") is not None and parsed.get("thread_id") is not None:
            yield Found("thread", "stands beside thread_id; give one of them")
        metadata = body.get("metadata")
        # More pairs than the API's own bound are told already.
        if isinstance(metadata, dict) and len(metadata) <= PAIRS:
            told = self._no_room(metadata)
            if told:
                yield Found(f"{path}metadata", told)

    def _accepted(
        self,
        parsed: dict[str, Json],
        body: dict[str, Json],
        fields: RawFields,
        target: Target | None,
    ) -> Accepted:
        """Accept what the structs could not read and nobody has anything against.

        So it is with unknown fields under `lenient`, and with a lone surrogate, which JSON's
        grammar allows and msgspec does not.
        """
        path = "body." if target else ""
        tokens = body.get("max_completion_tokens")
        warnings = tuple(
            self._warnings(
                tokens if isinstance(tokens, int) else None,
                _count(body.get("additional_messages")),
                body,
                path,
            )
        )
        thread = parsed.get("thread")
        if isinstance(thread, dict) and _count(thread.get("messages")) > MANY_MESSAGES:
            warnings = (*warnings, _many("thread.messages", _count(thread["messages"])))
        model = body.get("model")
        lane = f"{body['assistant_id']} {model}" if model else f"{body['assistant_id']}"
        lane = lane.encode("utf-8", "replace").decode()
        if target:
            extra = _included(target.include)
            return Accepted(target.thread_id, fields["body"].strip(), extra, lane, warnings)
        thread_id = parsed.get("thread_id")
        return Accepted(
            thread_id if isinstance(thread_id, str) else None,
            put_together({name: fields[name] for name in fields if name not in _NO_BODY}),
            _extra(fields),
            lane,
            warnings,
        )


def _notes(shape: Shape, elsewhere: Mapping[str, str]) -> dict[str, str]:
    inside = dict.fromkeys(shape.body.__struct_fields__, "belongs inside body in a Batch line")
    beside = {
        f"body.{name}": "is of a native line; a Batch line has no place for it"
        for name in ("custom_id", "thread", "tool_outputs")
    }
    return {
        **inside,
        **beside,
        "thread_id": "belongs in the url of a Batch line",
        "body.include": "belongs in the url of a Batch line, as ?include[]=…",
        **elsewhere,
        **{f"body.{name}": told for name, told in elsewhere.items()},
        _IN_BODY: "belongs in the url; the server knows no such field in the body",
    }


def _target(url: str) -> Target | Found:
    match = _URL.match(url)
    if match is None:
        told = f"{visible(url)} is not known; use '/v1/threads/{{thread_id}}/runs'"
        if url.rstrip("/").endswith("/threads/runs"):
            told += ", or a native line with a thread: a run made together with its thread is lost"
            told += " with its answer"
        return Found("url", told)
    thread_id = match[1]
    if "%" in thread_id:
        try:
            thread_id = unquote(thread_id, errors="strict")
        except UnicodeDecodeError:
            return Found("url", f"the thread id {visible(thread_id)} is not percent-encoded UTF-8")
    # Printable and short is good; the rest is for the declaration to say.
    if not thread_id.isprintable() or len(thread_id) > PLAIN_LENGTH:
        for wrong in faults(thread_id, ThreadId, "url"):
            return Found("url", f"the thread id {wrong.what}")
    return _query(thread_id, match[2]) if match[2] else Target(thread_id)


def _query(thread_id: str, query: str) -> Target | Found:
    include: list[str] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "include[]":
            return Found("url", f"the query {visible(name)} is not known; only include[] is")
        for wrong in faults(value, Include, "url"):
            return Found("url", f"include[] {wrong.what}")
        include.append(value)
    return Target(thread_id, tuple(include))


def _extra(fields: RawFields) -> bytes:
    # Most lines have none of the three.
    if "tool_outputs" not in fields and "thread" not in fields and "include" not in fields:
        return b""
    kept = {name: fields[name].strip() for name in BESIDE if name in fields}
    kept = {name: value for name, value in kept.items() if value != b"null"}
    return put_together(kept) if kept else b""


def _included(include: tuple[str, ...]) -> bytes:
    return msgspec.json.encode({"include": include}) if include else b""


def _many(path: str, count: int) -> Complaint:
    return Complaint(path, f"{count} messages; more than {MANY_MESSAGES} were refused in 2023")


def _count(value: Json) -> int:
    return len(value) if isinstance(value, list) else 0


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
