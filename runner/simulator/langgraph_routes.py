"""Threads and runs as LangGraph's Agent Server has them: `--dialect langgraph`.

By api-facts 10.5, and where the two differ by what a server of langgraph-api 0.16.7 was seen to do
on loopback (tests/real_langgraph runs one): unknown body fields are taken without a word, a run
inherits its thread's metadata, a pause for a person ends a run as `success`, a cancel answers 202
without a body, no `end` event closes a stream.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Annotated, Literal, TypeVar

import msgspec

from runner.simulator import objects
from runner.simulator.audit import Audit
from runner.simulator.bodies import OBJECT, JsonObject, read
from runner.simulator.exchange import (
    JSON,
    Advance,
    Answer,
    Asked,
    Clock,
    Events,
    Held,
    Kind,
)
from runner.simulator.journal import NULL, RunRecord
from runner.simulator.making import Maker
from runner.simulator.objects import Object
from runner.simulator.refusals import Refusal
from runner.simulator.stream import wait_for_change
from runner.simulator.world import Thread, World

KINDS: dict[str, Kind] = {
    "POST threads/*/runs": "create",
    "POST threads/*/runs/wait": "create",
    "POST threads/*/runs/stream": "create",
    "GET threads/*/runs": "list",
    "GET threads/*/runs/*": "read",
    "GET threads/*/runs/*/join": "read",
    "GET threads/*": "read",
    "GET threads/*/state": "read",
    "POST threads/*/history": "read",
    "POST threads/*/runs/*/cancel": "cancel",
}
STATUS = {
    "queued": "pending",
    "in_progress": "running",
    "cancelling": "running",
    "completed": "success",
    "incomplete": "success",
    "failed": "error",
    "expired": "timeout",
    "cancelled": "interrupted",
}
BUSY = (
    "Thread is already running a task. Wait for it to finish or choose a different"
    " multitask strategy."
)


class RunBody(msgspec.Struct):
    """Create run: what is checked; what is free JSON is not looked into."""

    assistant_id: str
    input: msgspec.Raw = NULL
    command: msgspec.Raw = NULL
    config: msgspec.Raw = NULL
    context: msgspec.Raw = NULL
    metadata: JsonObject | None = None
    checkpoint: msgspec.Raw = NULL
    checkpoint_id: str | None = None
    webhook: str | None = None
    interrupt_before: msgspec.Raw = NULL
    interrupt_after: msgspec.Raw = NULL
    stream_mode: msgspec.Raw = NULL
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    on_disconnect: Literal["cancel", "continue"] = "cancel"
    multitask_strategy: Literal["reject", "rollback", "interrupt", "enqueue"] = "enqueue"
    if_not_exists: Literal["create", "reject"] = "reject"
    after_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    durability: Literal["sync", "async", "exit"] = "async"
    feedback_keys: list[str] | None = None
    langsmith_tracer: msgspec.Raw = NULL


class ThreadBody(msgspec.Struct):
    """Create thread: the client may choose the id."""

    thread_id: str | None = None
    metadata: JsonObject | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"
    ttl: msgspec.Raw = NULL
    supersteps: msgspec.Raw = NULL


class HistoryBody(msgspec.Struct):
    """The states of a thread: how many, and whose."""

    limit: int = 10
    metadata: dict[str, str] = {}


_Body = TypeVar("_Body")
RUN = msgspec.json.Decoder(RunBody)
THREAD = msgspec.json.Decoder(ThreadBody)
HISTORY = msgspec.json.Decoder(HistoryBody)


class LangGraphRoutes:
    """Answers one request at a time; its refusals are `{"detail": …}`."""

    kinds = KINDS

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit
        self._maker = Maker(world, audit)
        self._routes: dict[str, Callable[[Asked, float], Answer]] = {
            "POST threads": self._create_thread,
            "GET threads/*": self._get_thread,
            "DELETE threads/*": self._delete_thread,
            "GET threads/*/state": self._get_state,
            "POST threads/*/history": self._history,
            "POST threads/*/runs": self._create,
            "POST threads/*/runs/wait": self._create,
            "POST threads/*/runs/stream": self._create,
            "GET threads/*/runs": self._list,
            "GET threads/*/runs/*": self._get,
            "GET threads/*/runs/*/join": self._join,
            "GET threads/*/runs/*/stream": self._stream,
            "POST threads/*/runs/*/cancel": self._cancel,
            "DELETE threads/*/runs/*": self._delete,
        }

    def spell(self, refusal: Refusal, asked: Asked) -> bytes:  # noqa: ARG002 - of the Surface
        """Return a refusal's body."""
        return objects.encode({"detail": refusal.error["message"]})

    def answer(self, asked: Asked, now: float) -> Answer:
        """Carry out a request as of `now`."""
        route = self._routes.get(asked.shape)
        if route is None:
            raise Refusal(404, "Not Found", kind="unknown_url")
        return route(asked, now)

    # Threads

    def _create_thread(self, asked: Asked, now: float) -> Answer:
        body = _checked(THREAD, asked)
        name = _uuid(body.thread_id, "thread_id") if body.thread_id else self._new_id()
        thread = self._world.threads.get(name)
        if thread is not None and body.if_exists == "raise":
            raise Refusal(409, f"Thread with ID {name} already exists", kind="thread_exists")
        if thread is None:
            metadata = OBJECT.decode(asked.body or b"{}").get("metadata", NULL)
            self._world.deleted.discard(name)
            thread = self._world.make_thread(name, now, metadata=metadata)
            self._audit.counts["threads"] += 1
        return _ok(_thread(thread))

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._world.rng.getrandbits(128), version=4))

    def _known(self, asked: Asked) -> Thread:
        name = _uuid(asked.path[1], "thread_id")
        thread = self._world.threads.get(name)
        if thread is None:
            raise Refusal(404, f"Thread with ID {name} not found", kind="not_found")
        return thread

    def _get_thread(self, asked: Asked, now: float) -> Answer:  # noqa: ARG002 - a route
        return _ok(_thread(self._known(asked)))

    def _get_state(self, asked: Asked, now: float) -> Answer:  # noqa: ARG002 - a route
        runs = self._known(asked).runs.values()
        return _ok(_state(next(reversed(runs)))) if runs else _ok(_EMPTY)

    def _history(self, asked: Asked, now: float) -> Answer:  # noqa: ARG002 - a route
        body, thread = _checked(HISTORY, asked), self._known(asked)
        wanted = body.metadata.get("run_id")
        runs = (run for run in reversed(thread.runs.values()) if wanted in {None, run.id})
        return _ok([_state(run) for run in islice(runs, max(body.limit, 0))])

    def _delete_thread(self, asked: Asked, now: float) -> Answer:  # noqa: ARG002 - a route
        self._world.delete_thread(self._known(asked))
        return Answer(204)

    # Runs

    def _create(self, asked: Asked, now: float) -> Answer:
        body = _checked(RUN, asked)
        name = _uuid(asked.path[1], "thread_id")
        replayed = self._maker.replayed(asked, name, asked.body)
        if replayed is not None:
            return self._answer(replayed, asked)
        if body.assistant_id.startswith("asst_missing"):
            told = f"Invalid assistant: '{body.assistant_id}'. Must be one of the registered graphs"
            raise Refusal(422, told, kind="not_found")
        thread = self._world.threads.get(name)
        if thread is None:
            if body.if_not_exists == "reject":
                raise Refusal(404, "Thread or assistant not found.", kind="not_found")
            self._world.deleted.discard(name)
            # A thread that a run makes has the run's metadata, and lends it to each later run.
            sent = OBJECT.decode(asked.body).get("metadata", NULL)
            thread = self._world.make_thread(name, now, metadata=sent)
        behind = self._make_room(thread, body, now)
        fate = self._maker.fate(thread, asked.body)
        if fate.rounds:
            fate = replace(fate, rounds=0, calls=PAUSED)
        run = self._maker.make(thread, self._new_id(), asked.body, fate=fate, asked=asked, now=now)
        if delay := max(behind - now, 0.0) + body.after_seconds:
            self._world.put_off(run, delay)
        return self._answer(run, asked)

    def _make_room(self, thread: Thread, body: RunBody, now: float) -> float:
        """Do with the active runs as the strategy says; return until when a new one waits."""
        if not thread.active or self._world.settings.no_lock:
            return now
        match body.multitask_strategy:
            case "reject":
                self._audit.counts["locked"] += 1
                raise Refusal(409, BUSY, kind="active_run")
            case "enqueue":
                return max(run.ends for run in thread.active)
            case "interrupt":
                for run in tuple(thread.active):
                    self._world.stop(run, now)
            case "rollback":
                for run in tuple(thread.active):
                    self._world.delete_run(run)
        return now

    def _answer(self, run: RunRecord, asked: Asked) -> Answer:
        where = f"/threads/{run.thread_id}/runs/{run.id}"
        headers = (*JSON, (b"content-location", where.encode()))
        if asked.shape.endswith("/wait"):
            joined = (*headers, (b"location", f"{where}/join".encode()))
            return Answer(200, headers=joined, held=Held(run, lambda: objects.encode(_values(run))))
        if asked.shape.endswith("/stream"):
            return Answer(200, headers=headers, events=partial(_events, run))
        return Answer(200, objects.encode(self._shown(run)), headers)

    def _shown(self, run: RunRecord) -> Object:
        return _shown(run, self._world.threads[run.thread_id])

    def _run(self, asked: Asked, now: float) -> RunRecord:
        thread = self._known(asked)
        run = thread.runs.get(_uuid(asked.path[3], "run_id"))
        if run is None:
            raise Refusal(404, "Not Found", kind="not_found")
        if now - run.created < self._world.settings.read_lag:
            self._audit.counts["early_404"] += 1
            raise Refusal(404, "Not Found", kind="not_found")
        return run

    def _list(self, asked: Asked, now: float) -> Answer:
        settings, said = self._world.settings, asked.parameters()
        if settings.no_list:
            raise Refusal(404, "Not Found", kind="no_list")
        limit, offset = said.get("limit", "10"), said.get("offset", "0")
        if not limit.isdecimal() or not offset.isdecimal():
            told = "invalid literal for int() with base 10"
            raise Refusal(400, told, kind="invalid_value")
        wanted, seen = said.get("status", ""), now - settings.list_lag
        found = (
            run
            for run in reversed(self._known(asked).runs.values())
            if run.created <= seen and wanted in {"", STATUS[run.status]}
        )
        page = islice(found, int(offset), int(offset) + int(limit))
        return _ok([self._shown(run) for run in page])

    def _get(self, asked: Asked, now: float) -> Answer:
        return _ok(self._shown(self._run(asked, now)))

    def _join(self, asked: Asked, now: float) -> Answer:
        run = self._run(asked, now)
        return Answer(200, held=Held(run, lambda: objects.encode(_values(run))))

    def _stream(self, asked: Asked, now: float) -> Answer:
        return Answer(200, events=partial(_events, self._run(asked, now)))

    def _cancel(self, asked: Asked, now: float) -> Answer:
        run, said = self._run(asked, now), asked.parameters()
        if run.rested:
            raise Refusal(404, "No matching runs to cancel.", kind="cannot_cancel")
        if said.get("action") == "rollback":
            self._world.delete_run(run)
            return Answer(202)
        self._world.cancel(run, now)
        if said.get("wait") in {"1", "true"}:
            return Answer(200, held=Held(run, lambda: b"{}"))
        return Answer(202)

    def _delete(self, asked: Asked, now: float) -> Answer:
        self._world.delete_run(self._run(asked, now))
        return Answer(204)


PAUSED = 0
"""The calls a round of a run that paused for a person: none, and it is at rest."""

_ERROR: Object = {"error": "SimulatedError", "message": "Sorry, something went wrong."}
_QUESTION: list[Object] = [{"value": "answer me", "id": "simulated"}]
_EMPTY: Object = {"values": {}, "next": [], "tasks": [], "metadata": {}}


def _ok(answer: Object | list[Object]) -> Answer:
    return Answer(200, objects.encode(answer))


def _checked(decoder: msgspec.json.Decoder[_Body], asked: Asked) -> _Body:
    """Read a body; what the other APIs refuse with 400 is 422 here."""
    try:
        return read(decoder, asked.body)
    except Refusal as refusal:
        refusal.status = 422
        raise


def _uuid(text: str, param: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise Refusal(
            422, f"Invalid {param}: must be a UUID", kind="uuid_parsing", param=param
        ) from error


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def _thread(thread: Thread) -> Object:
    last = next(reversed(thread.runs.values()), None)
    status = "busy" if thread.active else "idle"
    if status == "idle" and last is not None:
        status = "error" if last.status == "failed" else status
        status = "interrupted" if _paused(last) or last.status == "cancelled" else status
    record = thread.record
    return {
        "thread_id": record.id,
        "created_at": _time(record.created),
        "updated_at": _time(last.rested or last.created if last else record.created),
        "metadata": {} if objects.is_null(record.metadata) else record.metadata,
        "status": status,
        "config": {},
        "values": _values(last) if last is not None and last.rested else None,
        "error": _ERROR if status == "error" else None,
        "interrupts": {"agent": _QUESTION} if last is not None and _paused(last) else {},
    }


def _paused(run: RunRecord) -> bool:
    return run.calls == PAUSED and run.status == "completed"


def _state(run: RunRecord) -> Object:
    """Return the state in which a run left its thread; a task tells what is still to be done."""
    failed, paused = run.status == "failed", _paused(run)
    task: Object = {
        "id": run.id,
        "name": "agent",
        "error": f"{_ERROR['error']}({_ERROR['message']!r})" if failed else None,
        "interrupts": _QUESTION if paused else [],
    }
    return {
        "values": {} if failed or paused else _values(run),
        "next": ["agent"] if failed or paused else [],
        "tasks": [task] if failed or paused else [],
        "metadata": {"run_id": run.id, "thread_id": run.thread_id},
        "created_at": _time(run.rested or run.created),
    }


def _shown(run: RunRecord, thread: Thread) -> Object:
    sent = OBJECT.decode(run.body)
    name = msgspec.json.decode(sent["assistant_id"], type=str)
    given = run.metadata if not objects.is_null(run.metadata) else sent.get("metadata", NULL)
    own: JsonObject = {} if objects.is_null(given) else OBJECT.decode(given)
    lent = thread.record.metadata
    # What the server drops of a run it drops of the thread that the run made too.
    dropped = not objects.is_null(run.metadata)
    inherited: JsonObject = {} if dropped or objects.is_null(lent) else OBJECT.decode(lent)
    return {
        "run_id": run.id,
        "thread_id": run.thread_id,
        "assistant_id": _assistant(name),
        "created_at": _time(run.created),
        "updated_at": _time(run.rested or run.started or run.created),
        "status": STATUS[run.status],
        "metadata": {
            "created_by": "system",
            "graph_id": name,
            "assistant_id": _assistant(name),
            **inherited,
            **own,
        },
        "kwargs": {"input": sent.get("input", NULL), "config": sent.get("config", NULL)},
        "multitask_strategy": sent.get("multitask_strategy", "enqueue"),
    }


def _assistant(name: str) -> str:
    """Return the UUID of a graph: answers have it even where its name was sent."""
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _values(run: RunRecord) -> Object:
    if run.status == "failed":
        return {"__error__": _ERROR}
    if _paused(run):
        return {"__interrupt__": _QUESTION}
    answer = {"type": "ai", "content": "Simulated answer", "id": f"msg-{run.id}"}
    return {"messages": [answer] if run.status in {"completed", "incomplete"} else []}


async def _events(run: RunRecord, clock: Clock, advance: Advance) -> Events:
    yield _event("metadata", {"run_id": run.id, "attempt": 1})
    while not run.rested:
        await wait_for_change(run, clock, advance)
    if run.status == "failed":
        yield _event("error", _ERROR)
    else:
        yield _event("values", _values(run))


def _event(name: str, shown: Object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), objects.encode(shown))
