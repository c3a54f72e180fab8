"""Reads the run object of the OpenAI-shaped APIs: the few fields wanted, whatever their types.

Compatible servers send milliseconds, floats and ISO strings for times, null metadata, a string for
`incomplete_details`, usage in either of OpenAI's spellings. Only `id` and `status` must be there.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite

import msgspec

from runner.core.model import ApiError, Kind, Run, ToolCall, Usage
from runner.dialects.dialect import Tag, UnreadableError

_BOM = b"\xef\xbb\xbf"
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
# Outside strings only: a string is matched first, and put back.
_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b')
_LATEST_S = 1e11
"""Greater numbers are milliseconds: as seconds they would lie beyond the year 5000."""


class _Wire(msgspec.Struct, gc=False):
    id: str
    status: str
    thread_id: object = None
    metadata: object = None
    created_at: object = None
    completed_at: object = None
    failed_at: object = None
    cancelled_at: object = None
    expires_at: object = None
    last_error: object = None
    incomplete_details: object = None
    usage: object = None
    required_action: object = None


_DECODER = msgspec.json.Decoder(_Wire)


def read_run(body: bytes, tag: Tag, statuses: Mapping[str, Kind], poll_after_ms: int = 0) -> Run:
    """Return the run that a JSON text holds.

    A status that is not in `statuses` counts as failed: it ends the follow and is reported.
    Raises UnreadableError where the text is no JSON object, or has no id or no status.
    """
    raw, wire = _read(body)
    if not wire.id or not wire.status:
        raise UnreadableError("a run without an id or a status")
    kind = statuses.get(wire.status, Kind.FAILED)
    at_rest = kind not in (Kind.ACTIVE, Kind.WAITS)
    metadata = wire.metadata
    value = metadata.get(tag.name) if tag.name and isinstance(metadata, dict) else None
    return Run(
        id=wire.id,
        status=wire.status,
        kind=kind,
        raw=raw,
        thread_id=wire.thread_id if isinstance(wire.thread_id, str) else "",
        tag=value if isinstance(value, str) else "",
        created_s=seconds(wire.created_at),
        ended_s=_ended_s(wire) if at_rest else 0.0,
        expires_s=seconds(wire.expires_at),
        error=_error(wire) if at_rest else None,
        usage=read_usage(wire.usage),
        calls=_calls(wire.required_action) if kind is Kind.WAITS else (),
        poll_after_ms=poll_after_ms,
    )


def _read(body: bytes) -> tuple[bytes, _Wire]:
    try:
        wire = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _read_leniently(body)
    return one_line(body), wire


def _read_leniently(body: bytes) -> tuple[bytes, _Wire]:
    """Read what msgspec refuses: NaN, lone surrogates, numbers beyond a float, a BOM."""
    raw, parsed = read_object(body)
    try:
        return raw, msgspec.convert(parsed, _Wire)
    except msgspec.ValidationError as trouble:
        raise UnreadableError(f"a run without an id or a status: {trouble}") from trouble


def read_object(body: bytes) -> tuple[bytes, dict[str, object]]:
    """Return a JSON object as one line of bytes, and parsed; NaN and its like become null.

    Raises UnreadableError where the bytes are no JSON object.
    """
    text = body.removeprefix(_BOM).decode("utf-8", "replace")
    try:
        parsed: object = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as trouble:
        raise UnreadableError(f"no JSON: {trouble}") from trouble
    if not isinstance(parsed, dict):
        raise UnreadableError("JSON, but no object")
    if "NaN" in text or "Infinity" in text:
        text = _CONSTANT.sub(lambda found: found[0] if found[0][0] == '"' else "null", text)
    return one_line(text.encode("utf-8", "replace")), parsed


def one_line(raw: bytes) -> bytes:
    """Return JSON text on one line, else unchanged: a line break cannot stand inside a string."""
    if b"\n" in raw or b"\r" in raw:
        raw = raw.translate(_ONE_LINE)
    if not raw.isascii():
        # msgspec passes over a skipped field's bytes unseen; an export must stay UTF-8.
        raw = raw.decode("utf-8", "replace").encode()
    return raw.strip()


def seconds(value: object) -> float:
    """Return a time (a number of seconds or milliseconds, or ISO text) as unix seconds, or 0."""
    if type(value) is int and 0 < value <= _LATEST_S:
        return float(value)
    if isinstance(value, bool) or value is None:
        return 0.0
    if isinstance(value, str):
        return _seconds_of_text(value)
    if not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    if not isfinite(number) or number <= 0:
        return 0.0
    return number / 1000 if number > _LATEST_S else number


def _seconds_of_text(text: str) -> float:
    try:
        return seconds(float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_usage(value: object) -> Usage | None:
    """Return usage in either spelling (prompt/completion, input/output), or None."""
    if not isinstance(value, dict) or not value:
        return None
    prompt = _number(value, "prompt_tokens", "input_tokens")
    completion = _number(value, "completion_tokens", "output_tokens")
    inside = _part(value, "prompt_token_details", "prompt_tokens_details", "input_tokens_details")
    outside = _part(
        value,
        "completion_tokens_details",
        "completion_token_details",
        "output_tokens_details",
    )
    return Usage(
        prompt=prompt,
        completion=completion,
        total=_number(value, "total_tokens") or prompt + completion,
        cached=_number(inside, "cached_tokens"),
        reasoning=_number(outside, "reasoning_tokens"),
    )


def _number(value: Mapping[str, object], *names: str) -> int:
    for name in names:
        number = value.get(name)
        if type(number) is int:
            return max(0, number)
        if isinstance(number, int | float) and not isinstance(number, bool) and isfinite(number):
            return max(0, int(number))
    return 0


def _part(value: Mapping[str, object], *names: str) -> Mapping[str, object]:
    for name in names:
        part = value.get(name)
        if isinstance(part, dict):
            return part
    return {}


def _ended_s(wire: _Wire) -> float:
    # There is no expired_at and no incomplete_at on a run; completed_at is set on incomplete ones.
    return max(seconds(wire.completed_at), seconds(wire.failed_at), seconds(wire.cancelled_at))


def _error(wire: _Wire) -> ApiError | None:
    if isinstance(wire.last_error, dict):
        code, message = wire.last_error.get("code"), wire.last_error.get("message")
        return ApiError(code=text_of(code).lower(), message=cut(text_of(message)))
    if isinstance(wire.last_error, str) and wire.last_error:
        return ApiError(message=cut(wire.last_error))
    details = wire.incomplete_details
    reason = details.get("reason") if isinstance(details, dict) else details
    if wire.status == "incomplete" and isinstance(reason, str) and reason:
        return ApiError(code=reason)
    return None


def _calls(action: object) -> tuple[ToolCall, ...]:
    asked = action.get("submit_tool_outputs") if isinstance(action, dict) else None
    calls = asked.get("tool_calls") if isinstance(asked, dict) else None
    if not isinstance(calls, list):
        return ()
    return tuple(
        _call(call["id"], call.get("function"))
        for call in calls
        if isinstance(call, dict) and isinstance(call.get("id"), str)
    )


def _call(call_id: str, function: object) -> ToolCall:
    told: Mapping[str, object] = function if isinstance(function, dict) else {}
    arguments = told.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(call_id, text_of(told.get("name")), arguments or "")


def text_of(value: object) -> str:
    """Return a scalar as text, "" for null, JSON for the rest."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def cut(text: str) -> str:
    """Return text cut at 2 kB of UTF-8."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= 2048 else raw[:2045].decode("utf-8", "ignore") + "…"
