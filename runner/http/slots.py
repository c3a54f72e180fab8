"""The httpx sender: one connection per request in flight, through httpx's own engine, httpcore.

One pool for all costs 3 ms CPU a request at 100 connections, and loses a slot for good when a
request is cancelled while it connects; a connection per slot costs a sixth and cannot leak, since
it is closed after any exception (`performance.md` A). httpcore is called without the client and
the transport above it: they parse each URL and copy each header anew, and do nothing here that we
want (redirects, cookies, environment).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Protocol, runtime_checkable

import anyio
import httpcore
import httpx

from runner.core.call import Answer, Call, Reply, Silence
from runner.http.deadlines import Deadlines
from runner.http.encoding import inflater_for
from runner.http.route import UNSAFE, Headings, Route
from runner.http.sender import Guard, StreamEvent
from runner.http.silence import Stage, Watch, silence_of
from runner.http.sockets import socket_options
from runner.http.sse import EventParser, is_stream

CLOSING_S = 5.0


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


class _Slot:
    """A connection, the TCP stream below it, and since when it idles (the loop's seconds).

    To a proxy it is a pool of one, which alone knows how to make a tunnel.
    """

    __slots__ = ("connection", "idle_since", "stream")

    def __init__(self, connection: httpcore.AsyncHTTPConnection | httpcore.AsyncHTTPProxy) -> None:
        self.connection = connection
        self.stream: _Closable | None = None
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may go out on it; a pool sees to that itself."""
        connection = self.connection
        return isinstance(connection, httpcore.AsyncHTTPProxy) or not (
            connection.is_closed() or connection.has_expired()
        )

    async def hang_up(self) -> None:
        """Close hard: the TCP stream first, since its abort happens before the first wait.

        httpcore does not close a stream whose TLS handshake was cancelled.
        """
        with anyio.move_on_after(CLOSING_S, shield=True), suppress(Exception):
            if self.stream is not None:
                await self.stream.aclose()
            await self.connection.aclose()


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
        base = httpx.URL(route.base_url)
        self._host = base.netloc
        self._path = base.raw_path.rstrip(b"/").decode("ascii")
        self._address = (base.raw_scheme, base.raw_host, base.port)
        self._origin = httpcore.URL(
            scheme=base.raw_scheme, host=base.raw_host, port=base.port
        ).origin
        self._options = socket_options(route.longest_s)
        self._free: deque[_Slot] = deque()
        self._busy: dict[_Slot, Watch] = {}
        self._deadlines = Deadlines()
        self._closed = False

    async def send(
        self, call: Call, *, timeout_s: float = 60.0, guard: Guard | None = None
    ) -> Answer:
        """Send one call; `Sender.send` says what comes back."""
        if self._closed:
            return Silence(sent=False, why="unknown", detail="the sender is closed")
        watch = Watch(guard, self._deadlines, has_body=call.body is not None)
        slot = await self._take(watch, creates=call.creates)
        whole = False
        try:
            with watch.limit(timeout_s, self._route.connect_s):
                response = await slot.connection.handle_async_request(
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
        watch = Watch(guard, self._deadlines, has_body=call.body is not None)
        slot = await self._take(watch, creates=call.creates)
        whole = False
        last: Answer | None = None
        try:
            with watch.limit(timeout_s, self._route.connect_s):
                response = await slot.connection.handle_async_request(
                    self._request(call, watch, slot)
                )
                headers = _headers(response)
                if not is_stream(response.status, headers):
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

    def _request(self, call: Call, watch: Watch, slot: _Slot) -> httpcore.Request:
        headers = [(b"host", self._host)]
        headers += [(n.encode("ascii"), v.encode("ascii")) for n, v in self._headings.of(call)]
        if call.body is not None:
            headers.append((b"content-length", b"%d" % len(call.body)))
        elif call.method not in ("GET", "HEAD"):
            headers.append((b"content-length", b"0"))
        query = f"?{call.query}" if call.query else ""
        target = f"{self._path}{call.path}{query}"
        if not target.startswith("/"):
            target = f"/{target}"
        if UNSAFE.search(target):
            raise ValueError("a control or a space in the URL's path")
        scheme, host, port = self._address
        # No time-outs of httpcore's: they are per read, so a trickle would never end. Watch.limit
        # bounds the whole.
        return httpcore.Request(
            call.method,
            httpcore.URL(scheme=scheme, host=host, port=port, target=target.encode("ascii")),
            headers=headers,
            content=call.body or b"",
            extensions={"trace": _Trace(watch, slot)},
        )

    async def _take(self, watch: Watch, *, creates: bool) -> _Slot:
        """Return the free slot that idled least, or a new one."""
        if self._free:
            slot = self._free.pop()
            limit = self._route.keep_create_s if creates else self._route.keep_s
            idle_s = asyncio.get_running_loop().time() - slot.idle_since
            if idle_s < limit and slot.usable:
                self._busy[slot] = watch
                return slot
            await slot.hang_up()
        slot = _Slot(self._connection())
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

    def _connection(self) -> httpcore.AsyncHTTPConnection | httpcore.AsyncHTTPProxy:
        route = self._route
        if not route.proxy:
            return httpcore.AsyncHTTPConnection(
                self._origin,
                ssl_context=route.trust,
                keepalive_expiry=route.keep_s,
                socket_options=self._options,
            )
        proxy = httpx.Proxy(route.proxy)
        return httpcore.AsyncHTTPProxy(
            proxy_url=httpcore.URL(
                scheme=proxy.url.raw_scheme,
                host=proxy.url.raw_host,
                port=proxy.url.port,
                target=proxy.url.raw_path,
            ),
            proxy_auth=proxy.raw_auth,
            ssl_context=route.trust,
            proxy_ssl_context=route.trust if route.proxy.startswith("https:") else None,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=route.keep_s,
            socket_options=self._options,
        )


async def _whole(response: httpcore.Response) -> Reply:
    headers = _headers(response)
    body = b"".join([part async for part in _parts(response, headers)])
    return Reply(status=response.status, headers=headers, body=body)


async def _parts(response: httpcore.Response, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """Yield the body's parts, inflated; at the end the connection is ready for the next request."""
    inflater = inflater_for(headers.get("content-encoding", ""))
    async for part in response.aiter_stream():
        yield inflater.feed(part) if inflater is not None else part
    if inflater is not None:
        inflater.finish()
    await response.aclose()


def _holds_more(response: httpcore.Response) -> bool:
    """Say whether more has arrived on a connection than its answer.

    httpcore would take it for the answer to the next request: another job's run would become ours.
    It shows this nowhere in public; a test fails if the way to it changes.
    """
    inner: object = response.stream
    # A pool's stream is around the connection's own.
    inner = getattr(inner, "_stream", inner)
    for name in ("_connection", "_h11_state"):
        inner = getattr(inner, name, None)
    more, _ = getattr(inner, "trailing_data", (b"", False))
    return bool(more)


def _headers(response: httpcore.Response) -> dict[str, str]:
    """Return an answer's headers by lower-case name; a repeated one joined (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
