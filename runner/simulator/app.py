"""One request from its first byte to its last: the fault that befalls it, the answer, the wire."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from random import Random
from typing import TypedDict

from runner.simulator import faults
from runner.simulator.audit import Audit
from runner.simulator.connections import Connections
from runner.simulator.exchange import (
    JSON,
    Answer,
    Asked,
    Clock,
    Events,
    Headers,
    shape,
    tags,
)
from runner.simulator.faults import FAULTS
from runner.simulator.gate import Gate
from runner.simulator.inspection import Inspection
from runner.simulator.refusals import Refusal
from runner.simulator.spread import spread
from runner.simulator.surfaces import Surfaces, parts
from runner.simulator.world import World

Event = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

HELD_LOOK_S = 0.05  # how soon a cancel is seen by an answer that is held back
LARGEST_BODY = 64 * 1024 * 1024  # bytes
_STREAM: Headers = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))
_NO_ANSWER = Answer(0)


class Scope(TypedDict):
    """What is read of an ASGI scope."""

    type: str
    method: str
    raw_path: bytes
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int]


class App:
    """The ASGI application. `clock` gives unix seconds, `steady` seconds that never go back."""

    def __init__(
        self, world: World, audit: Audit, rng: Random, *, clock: Clock, steady: Clock
    ) -> None:
        self.world = world
        self.audit = audit
        self.connections = Connections()
        self.inspection = Inspection(world, audit, self.set)
        self._rng = rng
        self._clock = clock
        self._steady = steady
        self._gate = Gate(world, audit)
        self._surfaces = Surfaces(world, audit)
        self._tried: dict[str, int] = {}  # creates so far, of the tags that carry a plan of faults
        self._answered = 0
        self._latency = spread(world.settings.latency)

    def set(self, changes: dict[str, object]) -> None:
        """Change settings at run time; ValueError if one is wrong."""
        self.world.apply(self.inspection.changed(changes))
        self._latency = spread(self.world.settings.latency)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await _body(receive)
        if body is None:
            return
        now = self._clock()
        if scope["raw_path"].startswith(b"/_"):
            self.world.advance(now)
            inner = scope["raw_path"].decode("latin-1")
            await self._write(send, self.inspection.answer(scope["method"], inner, body))
            return
        base, path = parts(scope["raw_path"])
        surface = self._surfaces.of(path)
        known_as = shape(scope["method"], path)
        asked = Asked(
            method=scope["method"],
            path=path,
            query=scope["query_string"],
            headers={name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]},
            body=body,
            shape=known_as,
            kind=surface.kinds.get(known_as, "other"),
            base=base,
            surface=surface,
        )
        self.audit.request(now, asked)
        refused = self._unauthorized(asked)
        if refused is not None:
            await self._write(send, refused)
            return
        name = self._fault(asked)
        if name is None:
            await self._respond(send, self._carried_out(asked), scope, receive)
            return
        self.audit.faults[name] += 1
        await self._befall(name, asked, scope, receive, send)

    # What is decided before anything is carried out

    def _unauthorized(self, asked: Asked) -> Answer | None:
        key = self.world.settings.key
        if not key:
            return None
        if key in {
            asked.headers.get("authorization", "").removeprefix("Bearer "),
            asked.headers.get("api-key", ""),
            asked.headers.get("x-api-key", ""),
        }:
            return None
        return self._refused(
            asked,
            Refusal(
                401, "Incorrect API key provided.", kind="unauthorized", code="invalid_api_key"
            ),
        )

    def _fault(self, asked: Asked) -> str | None:
        settings = self.world.settings
        create = asked.kind == "create"
        if create and b'"fault"' in asked.body:
            said = tags(asked.body, settings.tag)
            if said.fault:
                who = said.tag or said.case or asked.path[1]
                tried = self._tried.get(who, 0)
                self._tried[who] = tried + 1
                return faults.planned(said.fault, tried)
        if settings.faults and (
            settings.faults_on == "all"
            or (settings.faults_on == "creates" and create)
            or (settings.faults_on == "reads" and asked.kind in {"read", "list"})
        ):
            return faults.drawn(settings.faults, self._rng)
        return None

    # Carrying out

    def _carried_out(self, asked: Asked) -> Answer:
        now = self._clock()
        self.world.advance(now)
        headers: Headers = ()
        try:
            if asked.kind == "create":
                headers = self._gate.create(asked, self._steady())
            elif asked.kind in {"read", "list"}:
                self._gate.read(self._steady())
            answer = asked.surface.answer(asked, now)
        except Refusal as refusal:
            answer = self._refused(asked, refusal)
        if headers:
            answer.headers += headers
        if asked.kind == "create":
            self.audit.arrivals.append((now, answer.status))
        return answer

    def _refused(self, asked: Asked, refusal: Refusal) -> Answer:
        self.audit.refusals[refusal.kind] += 1
        return Answer(refusal.status, asked.surface.spell(refusal, asked), JSON + refusal.headers)

    def _later(self, delay_s: float, asked: Asked) -> None:
        """Carry a request out after `delay_s`, whoever still listens: what a stalled proxy does."""
        asyncio.get_running_loop().call_later(delay_s, self._carried_out, asked)

    # Trouble

    async def _befall(
        self, name: str, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> None:
        fault = FAULTS[name]
        settings = self.world.settings
        answer = self._carried_out(asked) if fault.made else _NO_ANSWER
        if fault.status:
            extra = faults.timed_headers(name, settings.retry_after, self._clock())
            own = (fault.headers or JSON) + extra
            if asked.kind == "create" and not fault.made:
                self.audit.arrivals.append((self._clock(), fault.status))
            await self._write(send, Answer(fault.status, fault.body, own))
            return
        connection = self.connections.of(scope["client"])
        match fault.wire:
            case "repeat":
                self._later(settings.repeat_after, asked)
                await self._respond(send, answer, scope, receive)
            case "idle":
                await self._respond(send, answer, scope, receive)
                connection.close_after(settings.close_idle or 0.05)
            case "half":
                await self._half(send, answer)
                connection.close()
                await _disconnect(receive)
            case "stall":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_disconnect(receive), settings.stall)
                connection.close()
                await _disconnect(receive)
            case "close":
                connection.close()
                await _disconnect(receive)
            case _:
                if fault.wire == "late":
                    self._later(settings.late, asked)
                connection.reset()
                await _disconnect(receive)

    async def _half(self, send: Send, answer: Answer) -> None:
        await self._wait(answer)
        if answer.events is not None:
            await send(_start(200, _STREAM))
            async with contextlib.aclosing(self._events(answer)) as events:
                first = await anext(events)
            await send({"type": "http.response.body", "body": first, "more_body": True})
            return
        length = (b"content-length", str(len(answer.body)).encode())
        await send(_start(answer.status, (*answer.headers, length)))
        half = answer.body[: len(answer.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})

    # The wire

    async def _respond(self, send: Send, answer: Answer, scope: Scope, receive: Receive) -> None:
        settings = self.world.settings
        if settings.latency != "0":
            await asyncio.sleep(self._latency.draw(self._rng))
        await self._wait(answer)
        if answer.events is None:
            await self._write(send, answer)
        else:
            await self._stream(send, answer, scope, receive)
        if settings.close_idle:
            self.connections.of(scope["client"]).close_when_idle(settings.close_idle)

    async def _write(self, send: Send, answer: Answer) -> None:
        self._answered += 1
        self.audit.answers[answer.status] += 1
        body = answer.body
        headers = [
            *answer.headers,
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", b"req_%012d" % self._answered),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _events(self, answer: Answer) -> Events:
        if answer.events is None:
            raise TypeError("no stream")
        return answer.events(self._clock, self.world.advance)

    async def _wait(self, answer: Answer) -> None:
        """Hold an answer back until its run is at rest, then draw it."""
        held = answer.held
        if held is None:
            return
        while not held.run.rested:
            await asyncio.sleep(min(max(held.run.due - self._clock(), 0.001), HELD_LOOK_S))
            self.world.advance(self._clock())
        answer.body, answer.held = held.show(), None

    async def _stream(self, send: Send, answer: Answer, scope: Scope, receive: Receive) -> None:
        self.audit.counts["streams"] += 1
        self.audit.answers[answer.status] += 1
        self._answered += 1
        name = (b"x-request-id", b"req_%012d" % self._answered)
        left = -1
        if self.world.settings.stream_drop and self._rng.random() < self.world.settings.stream_drop:
            left = self._rng.randrange(1, 6)
        own = tuple(pair for pair in answer.headers if pair[0] != b"content-type")
        await send(_start(answer.status, (*_STREAM, *own, name)))
        async with contextlib.aclosing(self._events(answer)) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
                left -= 1
                if left == 0:
                    self.audit.counts["stream_drops"] += 1
                    self.connections.of(scope["client"]).close()
                    await _disconnect(receive)
                    return
        await send({"type": "http.response.body", "body": b""})


def _start(status: int, headers: Headers) -> Event:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body; None if the client hung up first or sends beyond all measure."""
    chunks: list[bytes] = []
    size = 0
    while size <= LARGEST_BODY:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        chunk = event.get("body", b"")
        if isinstance(chunk, bytes):
            chunks.append(chunk)
            size += len(chunk)
        if not event.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return None


async def _disconnect(receive: Receive) -> None:
    """Wait until the connection is gone: uvicorn answers 500 for an application that returns."""
    while (await receive())["type"] != "http.disconnect":
        pass
