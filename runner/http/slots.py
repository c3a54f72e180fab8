"""The httpx sender: one transport of one connection per request in flight.

One pool for all costs 3 ms CPU a request at 100 connections, and loses a slot for good when a
request is cancelled while it connects; a transport per slot costs a sixth and cannot leak, since it
is closed after any exception (`performance.md` A). The transport is called without `AsyncClient`,
which does nothing here that we want (redirects, cookies, environment) for a tenth of the time.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Protocol, runtime_checkable

import anyio
import httpx

from runner.core.call import Answer, Call, Reply, Silence
from runner.http.encoding import inflater_for
from runner.http.route import Headings, Route
from runner.http.sender import Guard, StreamEvent
from runner.http.silence import Stage, Watch, silence_of
from runner.http.sockets import socket_options
from runner.http.sse import EventParser, is_stream

CLOSING_S = 5.0
ONE = {"max_connections": 1, "max_keepalive_connections": 1}


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


class _Slot:
    """A transport, the TCP stream below it, and since when it idles (the loop's seconds)."""

    __slots__ = ("idle_since", "stream", "transport")

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self.transport = transport
        self.stream: _Closable | None = None
        self.idle_since = 0.0

    async def hang_up(self) -> None:
        """Close hard: the TCP stream first, since its abort happens before the first wait.

        httpcore does not close a stream whose TLS handshake was cancelled.
        """
        with anyio.move_on_after(CLOSING_S, shield=True), suppress(Exception):
            if self.stream is not None:
                await self.stream.aclose()
            await self.transport.aclose()


class _Trace:
    """Hears from httpcore how far an exchange is; asks the guard at the last layer."""

    __slots__ = ("_slot", "_watch")

    def __init__(self, watch: Watch, slot: _Slot) -> None:
        self._watch = watch
        self._slot = slot

    async def __call__(self, name: str, info: Mapping[str, object]) -> None:
        watch = self._watch
        match name:
            case "http11.send_request_headers.started":
                # The request to a proxy for a tunnel passes here too, and is not ours.
                if _is_connect(info):
                    watch.stage = Stage.TUNNELLING
                else:
                    watch.before_headers()
            case "http11.send_request_body.started":
                if watch.stage is Stage.SENDING:
                    watch.before_body()
            case "http11.receive_response_headers.complete":
                if watch.stage is Stage.SENDING:
                    watch.stage = Stage.ANSWERING
            case "connection.start_tls.started" | "proxy.start_tls.started":
                watch.stage = Stage.SECURING
            case "connection.connect_tcp.complete":
                stream = info["return_value"]
                self._slot.stream = stream if isinstance(stream, _Closable) else None
            case _:
                pass


def _is_connect(info: Mapping[str, object]) -> bool:
    return getattr(info["request"], "method", b"") == b"CONNECT"


class HttpxSender:
    """Sends over httpx; `Sender` says what it promises."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._headings = Headings(route.headers)
        self._host = httpx.URL(route.base_url).netloc
        self._options = socket_options(route.longest_s)
        self._limits = httpx.Limits(**ONE, keepalive_expiry=route.keep_s)
        # Bounded by Watch.limit: httpx's time-outs are per read, so a trickle would never end.
        self._timeouts = dict.fromkeys(("connect", "read", "write", "pool"))
        self._free: deque[_Slot] = deque()
        self._busy: dict[_Slot, Watch] = {}
        self._closed = False

    async def send(
        self, call: Call, *, timeout_s: float = 60.0, guard: Guard | None = None
    ) -> Answer:
        """Send one call; `Sender.send` says what comes back."""
        if self._closed:
            return Silence(sent=False, why="unknown", detail="the sender is closed")
        watch = Watch(guard, has_body=call.body is not None)
        slot = await self._take(watch, creates=call.creates)
        whole = False
        try:
            async with watch.limit(timeout_s, self._route.connect_s):
                response = await slot.transport.handle_async_request(
                    self._request(call, watch, slot)
                )
                reply = await _whole(response)
            whole = not _holds_more(response)
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the request may have left
            return silence_of(trouble, watch, proxied=bool(self._route.proxy))
        finally:
            await self._give_back(slot, whole=whole)
        return reply

    async def events(
        self,
        call: Call,
        *,
        timeout_s: float = 60.0,
        idle_s: float = 300.0,
        guard: Guard | None = None,
    ) -> AsyncIterator[StreamEvent | Answer]:
        """Send one call that streams; `Sender.events` says what comes."""
        if self._closed:
            yield Silence(sent=False, why="unknown", detail="the sender is closed")
            return
        watch = Watch(guard, has_body=call.body is not None)
        slot = await self._take(watch, creates=call.creates)
        whole = False
        last: Answer | None = None
        try:
            async with watch.limit(timeout_s, self._route.connect_s):
                response = await slot.transport.handle_async_request(
                    self._request(call, watch, slot)
                )
                headers = _headers(response)
                if not is_stream(response.status_code, headers):
                    last = await _whole(response)
            if last is None:
                parser = EventParser()
                parts = _parts(response, headers)
                while True:
                    async with asyncio.timeout(idle_s):
                        part = await anext(parts, None)
                    if part is None:
                        break
                    for event in parser.feed(part):
                        yield event
                last = parser.finish()
            whole = not _holds_more(response)
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the request may have left
            last = silence_of(trouble, watch, proxied=bool(self._route.proxy))
        finally:
            await self._give_back(slot, whole=whole)
        if last is not None:
            yield last

    async def hang_up(self) -> None:
        """Close every connection, hard; what is under way ends as a silence. Usable again."""
        for watch in self._busy.values():
            watch.stop()
        slots = [*self._busy, *self._free]
        self._free.clear()
        for slot in slots:
            await slot.hang_up()

    async def aclose(self) -> None:
        """Hang up for good: later calls are not sent."""
        self._closed = True
        await self.hang_up()

    def _request(self, call: Call, watch: Watch, slot: _Slot) -> httpx.Request:
        # Given a stream, httpx adds no header of its own: all that leaves is named here.
        headers = [(b"host", self._host)]
        headers += [(n.encode("ascii"), v.encode("ascii")) for n, v in self._headings.of(call)]
        if call.body is not None:
            headers.append((b"content-length", b"%d" % len(call.body)))
        elif call.method not in ("GET", "HEAD"):
            headers.append((b"content-length", b"0"))
        query = f"?{call.query}" if call.query else ""
        return httpx.Request(
            call.method,
            f"{self._route.base_url}{call.path}{query}",
            headers=headers,
            stream=httpx.ByteStream(call.body or b""),
            extensions={"timeout": self._timeouts, "trace": _Trace(watch, slot)},
        )

    async def _take(self, watch: Watch, *, creates: bool) -> _Slot:
        """Return the free slot that idled least, or a new one."""
        if self._free:
            slot = self._free.pop()
            limit = self._route.keep_create_s if creates else self._route.keep_s
            if asyncio.get_running_loop().time() - slot.idle_since < limit:
                self._busy[slot] = watch
                return slot
            await slot.hang_up()
        slot = _Slot(self._transport())
        self._busy[slot] = watch
        return slot

    async def _give_back(self, slot: _Slot, *, whole: bool) -> None:
        """Keep a slot whose answer was read to its end; close any other."""
        self._busy.pop(slot, None)
        if not whole or self._closed:
            await slot.hang_up()
            return
        now = asyncio.get_running_loop().time()
        slot.idle_since = now
        self._free.append(slot)
        # The first in line idled longest. One a turn, so that no request pays for many.
        if now - self._free[0].idle_since >= self._route.keep_s:
            await self._free.popleft().hang_up()

    def _transport(self) -> httpx.AsyncHTTPTransport:
        route = self._route
        proxy: httpx.Proxy | None = None
        if route.proxy:
            own = route.trust if route.proxy.startswith("https:") else None
            proxy = httpx.Proxy(route.proxy, ssl_context=own)
        return httpx.AsyncHTTPTransport(
            verify=route.trust,
            trust_env=False,
            http1=True,
            http2=False,
            limits=self._limits,
            proxy=proxy,
            retries=0,
            socket_options=self._options,
        )


async def _whole(response: httpx.Response) -> Reply:
    headers = _headers(response)
    body = b"".join([part async for part in _parts(response, headers)])
    return Reply(status=response.status_code, headers=headers, body=body)


async def _parts(response: httpx.Response, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """Yield the body's parts, inflated; at the end hand the connection back to the transport."""
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport gave a stream that cannot be awaited")
    inflater = inflater_for(headers.get("content-encoding", ""))
    async for part in stream:
        yield inflater.feed(part) if inflater is not None else part
    if inflater is not None:
        inflater.finish()
    await stream.aclose()


def _holds_more(response: httpx.Response) -> bool:
    """Say whether more has arrived on a connection than its answer.

    httpcore would take it for the answer to the next request: another job's run would become ours.
    It shows this nowhere in public; a test fails if the way to it changes.
    """
    inner: object = response.stream
    for name in ("_httpcore_stream", "_stream", "_connection", "_h11_state"):
        inner = getattr(inner, name, None)
    more, _ = getattr(inner, "trailing_data", (b"", False))
    return bool(more)


def _headers(response: httpx.Response) -> dict[str, str]:
    """Return an answer's headers by lower-case name; a repeated one joined (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
