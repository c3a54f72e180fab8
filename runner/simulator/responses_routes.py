"""The Responses API with background mode, and the conversations beside it (api-facts 10.9).

There is no list of responses. An action that a run would require ends the response as completed,
with `function_call` items in its output.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import msgspec

from runner.simulator import objects
from runner.simulator.audit import Audit
from runner.simulator.bodies import OBJECT, JsonObject, Metadata, read
from runner.simulator.exchange import (
    Advance,
    Answer,
    Asked,
    Clock,
    Events,
    Held,
    Kind,
    page,
)
from runner.simulator.journal import NULL, MessageRecord, RunRecord
from runner.simulator.listing import listed
from runner.simulator.making import Maker
from runner.simulator.objects import Object
from runner.simulator.refusals import Refusal, not_found
from runner.simulator.stream import wait_for_change
from runner.simulator.world import Thread, World

KINDS: dict[str, Kind] = {
    "POST responses": "create",
    "GET responses/*": "read",
    "POST responses/*/cancel": "cancel",
    "GET conversations/*": "read",
    "GET conversations/*/items": "list",
}
_STATUS = {
    "expired": "failed",
    "cancelling": "in_progress",
}
_ECHOED = (
    "model",
    "instructions",
    "background",
    "store",
    "metadata",
    "previous_response_id",
    "tools",
    "max_output_tokens",
    "reasoning",
    "text",
    "tool_choice",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "truncation",
    "prompt",
    "max_tool_calls",
)
_DEFAULTS: dict[str, object] = {
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "metadata": {},
    "background": False,
    "store": True,
    "truncation": "disabled",
    "temperature": 1.0,
    "top_p": 1.0,
}
_REASONS = {"incomplete": "max_output_tokens", "content_filter": "content_filter"}


class ConversationName(msgspec.Struct):
    """A conversation by id."""

    id: str


class ResponseBody(msgspec.Struct, forbid_unknown_fields=True):
    """Create response: what is checked here, and what is only echoed."""

    model: str
    input: str | list[JsonObject] | None = None
    instructions: str | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    conversation: str | ConversationName | None = None
    previous_response_id: str | None = None
    tools: list[JsonObject] | None = None
    max_output_tokens: int | None = None
    reasoning: JsonObject | None = None
    text: JsonObject | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    truncation: str | None = None
    prompt: JsonObject | None = None
    max_tool_calls: int | None = None
    include: list[str] | None = None
    service_tier: str | None = None
    user: str | None = None


class ConversationBody(msgspec.Struct, forbid_unknown_fields=True):
    """Create conversation."""

    items: list[JsonObject] | None = None
    metadata: Metadata | None = None


RESPONSE = msgspec.json.Decoder(ResponseBody)
CONVERSATION = msgspec.json.Decoder(ConversationBody)


class ResponsesRoutes:
    """A response is a run on its conversation, or on a thread of its own."""

    kinds = KINDS

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit
        self._maker = Maker(world, audit)
        self._routes: dict[str, Callable[[Asked, float], Answer]] = {
            "POST responses": self._create,
            "GET responses/*": self._read,
            "DELETE responses/*": self._delete,
            "POST responses/*/cancel": self._cancel,
            "POST conversations": self._converse,
            "GET conversations/*": self._conversation,
            "GET conversations/*/items": self._items,
        }

    def spell(self, refusal: Refusal, asked: Asked) -> bytes:  # noqa: ARG002 - of the Surface
        """Return a refusal's body."""
        return refusal.body()

    def answer(self, asked: Asked, now: float) -> Answer:
        """Carry out a request as of `now`."""
        route = self._routes.get(asked.shape)
        if route is None:
            where = "/".join(asked.path)[:60]
            raise Refusal(404, f"Invalid URL ({asked.method} /v1/{where})", kind="unknown_url")
        return route(asked, now)

    def _create(self, asked: Asked, now: float) -> Answer:
        body = read(RESPONSE, asked.body)
        if body.background and body.store is False:
            raise Refusal(400, "Background mode requires store to be true.", kind="invalid_value")
        replayed = self._maker.replayed(asked, None, asked.body)
        if replayed is not None:
            return self._answer(replayed, body)
        run_id = self._world.new_id("resp")
        thread = self._thread(body, run_id, now)
        fate = self._maker.fate(thread, asked.body)
        text = body.input if isinstance(body.input, str) else ""
        if body.conversation is not None and text:
            self._say(thread, text, now)
        calls, fate = fate.rounds, replace(fate, rounds=0)
        run = self._maker.make(thread, run_id, asked.body, fate=fate, asked=asked, now=now)
        if calls:
            run.turn = 1
            self._world.keep(run=run)
        return self._answer(run, body)

    def _answer(self, run: RunRecord, body: ResponseBody) -> Answer:
        if body.stream:
            return Answer(200, events=partial(_events, run, 0))
        if body.background:
            return _ok(_shown(run))
        return Answer(200, held=Held(run, lambda: objects.encode(_shown(run))))

    def _thread(self, body: ResponseBody, run_id: str, now: float) -> Thread:
        name = body.conversation
        if name is None:
            return self._world.make_thread(f"of_{run_id}", now)
        return self._known(name if isinstance(name, str) else name.id)

    def _known(self, name: str) -> Thread:
        thread = self._world.threads.get(name)
        if thread is None or not name.startswith("conv_"):
            raise Refusal(404, f"Conversation with id '{name}' not found.", kind="not_found")
        return thread

    def _say(self, thread: Thread, text: str, now: float) -> None:
        content = objects.encode([{"type": "input_text", "text": text}])
        message = MessageRecord(
            id=self._world.new_id("msg"),
            thread_id=thread.record.id,
            created=now,
            role="user",
            content=msgspec.Raw(content),
            text=text[:400],
        )
        self._world.add_message(thread, message)

    def _run(self, asked: Asked, now: float) -> RunRecord:
        run = self._world.runs.get(asked.path[1])
        if run is None or not run.id.startswith("resp_"):
            raise Refusal(404, f"Response with id '{asked.path[1]}' not found.", kind="not_found")
        if now - run.created < self._world.settings.read_lag:
            self._audit.counts["early_404"] += 1
            raise not_found("response", run.id)
        return run

    def _read(self, asked: Asked, now: float) -> Answer:
        run, said = self._run(asked, now), asked.parameters()
        if said.get("stream") == "true":
            after = said.get("starting_after", "-1")
            return Answer(200, events=partial(_events, run, int(after) + 1))
        return _ok(_shown(run))

    def _delete(self, asked: Asked, now: float) -> Answer:
        run = self._run(asked, now)
        self._world.delete_run(run)
        return _ok({"id": run.id, "object": "response", "deleted": True})

    def _cancel(self, asked: Asked, now: float) -> Answer:
        run = self._run(asked, now)
        if bytes(OBJECT.decode(run.body).get("background", NULL)) != b"true":
            raise Refusal(400, "Cannot cancel a synchronous response.", kind="cannot_cancel")
        if not run.rested:
            self._world.stop(run, now)
        return _ok(_shown(run))

    def _converse(self, asked: Asked, now: float) -> Answer:
        read(CONVERSATION, asked.body)
        metadata = OBJECT.decode(asked.body or b"{}").get("metadata", NULL)
        thread = self._world.make_thread(self._world.new_id("conv"), now, metadata=metadata)
        return _ok(_conversation(thread))

    def _conversation(self, asked: Asked, now: float) -> Answer:  # noqa: ARG002 - a route
        return _ok(_conversation(self._known(asked.path[1])))

    def _items(self, asked: Asked, now: float) -> Answer:  # noqa: ARG002 - a route
        thread, wanted = self._known(asked.path[1]), page(asked)
        said = [(message.created, _said(message)) for message in thread.messages]
        said += [
            (run.rested, shown)
            for run in thread.runs.values()
            if run.rested
            for shown in _output(run)
        ]
        found = [shown for _, shown in sorted(said, key=lambda pair: pair[0])]
        ordered = found[::-1] if wanted.newest_first else found
        return _ok(listed(ordered, wanted, name=lambda one: str(one["id"]), show=lambda one: one))


def _ok(answer: Object) -> Answer:
    return Answer(200, objects.encode(answer))


def _conversation(thread: Thread) -> Object:
    record = thread.record
    return {
        "id": record.id,
        "object": "conversation",
        "created_at": int(record.created),
        "metadata": {} if objects.is_null(record.metadata) else record.metadata,
    }


def _said(message: MessageRecord) -> Object:
    return {
        "id": message.id,
        "type": "message",
        "role": message.role,
        "status": "completed",
        "content": message.content,
    }


def _output(run: RunRecord) -> list[Object]:
    if run.turn and run.status == "completed":
        return [
            {
                "type": "function_call",
                "id": f"fc_{run.id[5:]}{n}",
                "call_id": name,
                "status": "completed",
                **function,
            }
            for n, (name, function) in enumerate(objects.calls(run, 1))
        ]
    if run.status not in {"completed", "incomplete"}:
        return []
    sent = OBJECT.decode(run.body)
    asked = bytes(sent.get("input", b'"nothing"'))
    prompt = msgspec.json.decode(asked, type=str) if asked.startswith(b'"') else "its items"
    text = {"type": "output_text", "text": f"Simulated answer to: {prompt[:400]}"}
    return [
        {
            "type": "message",
            "id": f"msg_{run.id[5:]}",
            "role": "assistant",
            "status": run.status,
            "content": [{**text, "annotations": [], "logprobs": []}],
        }
    ]


def _shown(run: RunRecord) -> Object:
    sent = OBJECT.decode(run.body)
    status = _STATUS.get(run.status, run.status)
    error = None
    if status == "failed":
        limited = run.end == "rate_limit_exceeded"
        code = "rate_limit_exceeded" if limited else "server_error"
        error = {"code": code, "message": "The simulated response failed."}
    used = objects.usage(run) if run.rested else None
    answer: dict[str, object] = {
        "id": run.id,
        "object": "response",
        "created_at": int(run.created),
        "completed_at": int(run.rested) if status == "completed" else None,
        "status": status,
        "error": error,
        "incomplete_details": {"reason": _REASONS.get(run.end, "max_output_tokens")}
        if status == "incomplete"
        else None,
        "output": _output(run),
        "usage": _usage(used) if used else None,
    }
    for name in _ECHOED:
        value = sent.get(name, NULL)
        answer[name] = _DEFAULTS.get(name) if objects.is_null(value) else value
    if not objects.is_null(run.metadata):
        answer["metadata"] = run.metadata
    if run.thread_id.startswith("conv_"):
        answer["conversation"] = {"id": run.thread_id}
    return answer


def _usage(used: Object) -> Object:
    return {
        "input_tokens": used["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": used["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used["total_tokens"],
    }


async def _events(run: RunRecord, begin: int, clock: Clock, advance: Advance) -> Events:
    """Yield the events of a response from number `begin` on; the numbers are the same each time."""
    number = 0
    async for name, shown in _told(run, clock, advance):
        if number >= begin:
            told = objects.encode({"type": name, "sequence_number": number, **shown})
            yield b"event: %s\ndata: %s\n\n" % (name.encode(), told)
        number += 1


async def _told(
    run: RunRecord, clock: Clock, advance: Advance
) -> AsyncIterator[tuple[str, Object]]:
    begun = {**_shown(run), "status": "queued", "output": [], "usage": None}
    yield "response.created", {"response": begun}
    yield "response.queued", {"response": begun}
    while not run.started and not run.rested:
        await wait_for_change(run, clock, advance)
    yield "response.in_progress", {"response": {**begun, "status": "in_progress"}}
    while not run.rested:
        await wait_for_change(run, clock, advance)
    for index, shown in enumerate(_output(run)):
        yield "response.output_item.added", {"output_index": index, "item": shown}
        yield "response.output_item.done", {"output_index": index, "item": shown}
    whole = _shown(run)
    ended = whole["status"]
    yield f"response.{'failed' if ended == 'cancelled' else ended}", {"response": whole}
