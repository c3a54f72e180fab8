"""The objects of the API as it sends them (api-facts 2 and 4), drawn from the small records.

What the client sent is echoed byte for byte: numbers keep their digits.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from runner.simulator import bodies
from runner.simulator.fates import INCOMPLETE_REASON, LAST_ERROR
from runner.simulator.journal import NULL, MessageRecord, RunRecord, ThreadRecord

Object = Mapping[str, object]

_EMPTY = msgspec.Raw(b"{}")
_NONE = msgspec.Raw(b"[]")
_ONE = msgspec.Raw(b"1.0")
_DEFAULTS: dict[str, msgspec.Raw] = {
    "model": msgspec.Raw(b'"gpt-4o"'),
    "instructions": NULL,
    "tools": msgspec.Raw(b"[]"),
    "temperature": _ONE,
    "top_p": _ONE,
    "max_prompt_tokens": NULL,
    "max_completion_tokens": NULL,
    "truncation_strategy": msgspec.Raw(b'{"type":"auto","last_messages":null}'),
    "tool_choice": msgspec.Raw(b'"auto"'),
    "parallel_tool_calls": msgspec.Raw(b"true"),
    "response_format": msgspec.Raw(b'"auto"'),
}
_REASON_OF_MESSAGE = {"max_completion_tokens": "max_tokens", "content_filter": "content_filter"}
_REPLY_LENGTH = 400  # characters of the prompt that a reply repeats

encode = msgspec.json.Encoder().encode


class _Asked(msgspec.Struct):
    instructions: str | None = None
    additional_messages: list[bodies.MessageBody] | None = None
    tools: list[bodies.Tool] | None = None
    metadata: dict[str, str] | None = None


_ASKED = msgspec.json.Decoder(_Asked)


def is_null(value: msgspec.Raw) -> bool:
    """Tell whether a piece of JSON is null."""
    return bytes(value) == b"null"


def _map(value: msgspec.Raw) -> msgspec.Raw:
    return _EMPTY if is_null(value) else value


def _list(value: msgspec.Raw) -> msgspec.Raw:
    return _NONE if is_null(value) else value


def _seconds(at: float) -> int | None:
    return int(at) if at else None


def thread(record: ThreadRecord) -> Object:
    """Return the thread object."""
    return {
        "id": record.id,
        "object": "thread",
        "created_at": int(record.created),
        "tool_resources": record.tool_resources,
        "metadata": _map(record.metadata),
    }


def run(record: RunRecord) -> Object:
    """Return the run object as it stands."""
    sent = bodies.OBJECT.decode(record.body)
    status, rested = record.status, record.rested
    error = LAST_ERROR.get(record.end) if status == "failed" else None
    answer: dict[str, object] = {
        "id": record.id,
        "object": "thread.run",
        "created_at": int(record.created),
        "thread_id": record.thread_id,
        # The other dialects' runs have none.
        "assistant_id": sent.get("assistant_id"),
        "status": status,
        "required_action": required_action(record) if status == "requires_action" else None,
        "last_error": {"code": error[0], "message": error[1]} if error else None,
        # Null again at rest: openai/openai-python#1407.
        "expires_at": None if rested or record.expires > 4e9 else int(record.expires),
        "started_at": _seconds(record.started),
        # Also seen set on incomplete: openai/openai-python#1407.
        "completed_at": _seconds(rested) if status in {"completed", "incomplete"} else None,
        "cancelled_at": _seconds(rested) if status == "cancelled" else None,
        "failed_at": _seconds(rested) if status == "failed" else None,
        "incomplete_details": {"reason": INCOMPLETE_REASON.get(record.end, "max_prompt_tokens")}
        if status == "incomplete"
        else None,
    }
    for name, default in _DEFAULTS.items():
        value = sent.get(name)
        answer[name] = default if value is None or is_null(value) else value
    changed = not is_null(record.metadata)
    answer["metadata"] = _map(record.metadata if changed else sent.get("metadata", NULL))
    answer["usage"] = usage(record) if rested else None
    return answer


def usage(record: RunRecord) -> Object | None:
    """Return what a run used, reckoned at four characters a token; None if it never began."""
    if not record.started:
        return None
    prompt = 10 + len(bytes(record.body)) // 4
    completion = 12 if record.status in {"completed", "incomplete"} else 0
    completion += 8 * record.turn
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_token_details": {"cached_tokens": 0},
    }


def required_action(record: RunRecord) -> Object:
    """Return what a run in requires_action asks for: all the calls of the round."""
    return {
        "type": "submit_tool_outputs",
        "submit_tool_outputs": {
            "tool_calls": [
                {"id": name, "type": "function", "function": function}
                for name, function in calls(record, record.turn)
            ]
        },
    }


def call_ids(record: RunRecord) -> list[str]:
    """Return the ids of the calls of the present round."""
    return [f"call_{record.id[4:]}{record.turn:02d}{n:02d}" for n in range(record.calls)]


def calls(record: RunRecord, turn: int) -> Iterator[tuple[str, Object]]:
    """Yield (call id, function with name and arguments) of a tool round, counted from 1."""
    tools = _ASKED.decode(record.body).tools or []
    functions = [tool.function for tool in tools if isinstance(tool, bodies.Function)]
    for n in range(record.calls):
        name, arguments = "lookup", '{"key":"a"}'
        if functions:
            function = functions[(turn - 1 + n) % len(functions)]
            name = function.name
            arguments = encode(_arguments(function.parameters or {})).decode()
        call_id = f"call_{record.id[4:]}{turn:02d}{n:02d}"
        yield call_id, {"name": name, "arguments": arguments}


class _Parameter(msgspec.Struct):
    type: str | list[str] = "string"
    enum: list[msgspec.Raw] | None = None


_SAMPLES: dict[str, object] = {
    "string": "a",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


def _arguments(parameters: Mapping[str, msgspec.Raw]) -> dict[str, object]:
    """Return arguments that fit a JSON Schema of the usual flat kind."""
    try:
        declared = msgspec.json.decode(
            parameters.get("properties", _EMPTY), type=dict[str, _Parameter]
        )
    except msgspec.ValidationError:
        return {}
    arguments: dict[str, object] = {}
    for name, parameter in declared.items():
        kind = parameter.type if isinstance(parameter.type, str) else "string"
        arguments[name] = parameter.enum[0] if parameter.enum else _SAMPLES.get(kind)
    return arguments


def message(record: MessageRecord) -> Object:
    """Return a message that a client added."""
    return {
        "id": record.id,
        "object": "thread.message",
        "created_at": int(record.created),
        "thread_id": record.thread_id,
        "status": "completed",
        "incomplete_details": None,
        "incomplete_at": None,
        "completed_at": int(record.created),
        "role": record.role,
        "content": record.content,
        "assistant_id": None,
        "run_id": None,
        "attachments": _list(record.attachments),
        "metadata": _map(record.metadata),
    }


def content(body: bodies.MessageBody, sent: msgspec.Raw) -> msgspec.Raw:
    """Return a message's content as answers have it: text as an object, all else as it was sent."""
    if isinstance(body.content, str):
        return msgspec.Raw(
            b'[{"type":"text","text":{"value":' + bytes(sent) + b',"annotations":[]}}]'
        )
    parts = msgspec.json.decode(sent, type=list[bodies.JsonObject])
    return msgspec.Raw(encode([_part(part) for part in parts]))


def _part(part: bodies.JsonObject) -> Object:
    if "text" in part:
        return {"type": "text", "text": {"value": part["text"], "annotations": []}}
    return part


def message_id(record: RunRecord) -> str:
    """Return the id of the message that a run answers with."""
    return f"msg_{record.id[4:]}"


def has_reply(record: RunRecord) -> bool:
    """Tell whether a run left a message, whole or in part."""
    return bool(
        record.started and record.rested and record.status in {"completed", "incomplete", "expired"}
    )


def reply_text(record: RunRecord, messages: Sequence[MessageRecord]) -> str:
    """Return what the run answers: the metadata key `reply`, else an echo of what it was asked."""
    asked = _ASKED.decode(record.body)
    if asked.metadata and "reply" in asked.metadata:
        return asked.metadata["reply"]
    texts = [m.text() for m in asked.additional_messages or () if m.role == "user"]
    if not texts:
        texts = [m.text for m in messages if m.role == "user" and m.created <= record.created]
    prompt = texts[-1] if texts else asked.instructions or "nothing"
    return f"Simulated answer to: {prompt[:_REPLY_LENGTH]}"


def reply(record: RunRecord, text: str, status: str = "") -> Object:
    """Return the message of a run; `status` overrides the one that follows from the run."""
    whole = status or ("completed" if record.status == "completed" else "incomplete")
    reason = None
    if whole == "incomplete":
        said = INCOMPLETE_REASON.get(record.end, "")
        reason = _REASON_OF_MESSAGE.get(said, f"run_{record.status}")
        text = text[: len(text) // 2]
    parts = [{"type": "text", "text": {"value": text, "annotations": []}}]
    began = int(record.rested or record.started or record.created)
    return {
        "id": message_id(record),
        "object": "thread.message",
        "created_at": began,
        "thread_id": record.thread_id,
        "status": whole,
        "incomplete_details": {"reason": reason} if reason else None,
        "incomplete_at": began if reason else None,
        "completed_at": began if whole == "completed" else None,
        "role": "assistant",
        "content": [] if whole == "in_progress" else parts,
        "assistant_id": bodies.OBJECT.decode(record.body)["assistant_id"],
        "run_id": record.id,
        "attachments": [],
        "metadata": {},
    }


def steps(record: RunRecord) -> list[Object]:
    """Return the steps of a run so far, oldest first: one a tool round, one for the message."""
    found = [tool_step(record, turn) for turn in range(1, record.turn + 1)]
    if has_reply(record):
        found.append(message_step(record))
    return found


def tool_step(record: RunRecord, turn: int) -> Object:
    """Return the step of a tool round (from 1)."""
    taken = dict(record.taken[turn - 1]) if turn <= len(record.taken) else None
    asked = [
        {
            "id": name,
            "type": "function",
            "function": {**function, "output": (taken or {}).get(name)},
        }
        for name, function in calls(record, turn)
    ]
    status = record.status if record.rested else "in_progress"
    details = {"type": "tool_calls", "tool_calls": asked}
    return _step(record, f"{turn:02d}", details, status if taken is None else "completed")


def message_step(record: RunRecord, status: str = "") -> Object:
    """Return the step of the message; `status` overrides the one that follows from the run."""
    details = {
        "type": "message_creation",
        "message_creation": {"message_id": message_id(record)},
    }
    usual = "expired" if record.status == "expired" else "completed"
    return _step(record, "99", details, status or usual)


def _step(record: RunRecord, suffix: str, details: Object, status: str) -> Object:
    began = int(record.started or record.created)
    ended = int(record.rested or record.starts or began)
    return {
        "id": f"step_{record.id[4:]}{suffix}",
        "object": "thread.run.step",
        "created_at": began,
        "run_id": record.id,
        "assistant_id": bodies.OBJECT.decode(record.body)["assistant_id"],
        "thread_id": record.thread_id,
        "type": details["type"],
        "status": status,
        "step_details": details,
        "last_error": None,
        "completed_at": ended if status == "completed" else None,
        "cancelled_at": ended if status == "cancelled" else None,
        "failed_at": ended if status == "failed" else None,
        "expired_at": ended if status == "expired" else None,
        "metadata": {},
        "usage": usage(record) if status == "completed" and record.rested else None,
    }
