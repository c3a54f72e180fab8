"""The aiohttp sender: the fast one (`runner[fast]`).

It drives aiohttp's connector, request and response without `ClientSession`: the session costs a
sixth of a request's time for what we do not want (cookies, redirects, environment), and repeats an
idempotent request by itself. So the line between "connecting" and "sending" is a line of this file.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from runner.core.call import Answer, Call, Reply, Silence
from runner.http.encoding import inflated, inflater_for
from runner.http.route import Headings, Route
from runner.http.sender import Guard, StreamEvent
from runner.http.silence import Stage, Watch, silence_of
from runner.http.sockets import SocketOption, socket_options
from runner.http.sse import EventParser, is_stream

# A payload must name headers of its own; all of ours are set before it is asked.
NO_HEADERS: CIMultiDict[str] = CIMultiDict({"content-type": "application/json"})
# Content-type is the one header that aiohttp still adds after `update_auto_headers`.
NOT_ADDED: CIMultiDict[None] = CIMultiDict({"content-type": None})

# A server may spoil several idle connections at once; one that spoils each new one is no server.
MOST_SPOILT = 20
# How many turns of the loop a stopped exchange may take to end; two or three are seen.
TURNS_TO_STOP = 50


class _Body(aiohttp.Payload):
    """A request's body that asks the guard right before it is written.

    aiohttp holds the headers back to write them together with the body, so here nothing at all has
    left yet. (`aiohttp.BytesPayload` would warn of every body above 1 MB.)
    """

    _autoclose = True
    _value: bytes

    # Not through Payload.__init__, which makes a dictionary of headers for each body.
    def __init__(self, value: bytes, watch: Watch) -> None:  # no super call, see above
        self._value = value
        self._size = len(value)
        self._headers = NO_HEADERS
        self._encoding = None
        self._filename = None
        self._watch = watch

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; aiohttp's interface wants it."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body, if the guard still says yes."""
        self._watch.before_body()
        await writer.write(self._value)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, whose length is its own."""
        del content_length
        await self.write(writer)


class _Request(aiohttp.ClientRequest):
    """A request whose headers are all given, none added."""

    def update_auto_headers(self, skip_auto_headers: object) -> None:
        """Add nothing: what leaves is named in `route.Headings`."""
        del skip_auto_headers
        self._skip_auto_headers = NOT_ADDED


class _HeaderView(Mapping[str, str]):
    """An answer's headers: found by name in any case, told in lower case, repeated ones joined."""

    __slots__ = ("_headers",)

    def __init__(self, headers: CIMultiDictProxy[str]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        values = self._headers.getall(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name in self._headers))

    def __len__(self) -> int:
        return len({name.lower() for name in self._headers})

    def __repr__(self) -> str:
        return repr(dict(self))


class _Exchange:
    """One request's way: the connection that it was given, and the answer to it."""

    __slots__ = ("connection", "response", "transport", "watch")

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.connection: aiohttp.connector.Connection | None = None
        self.transport: asyncio.Transport | None = None
        self.response: aiohttp.ClientResponse | None = None

    async def end(self) -> None:
        """Hang up, and come back when the socket is closed: asyncio does so at its next turn."""
        self.hang_up()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Abort: a close would first send what the transport still holds."""
        if self.transport is not None:
            self.transport.abort()
        if self.response is not None:
            self.response.close()
        if self.connection is not None:
            self.connection.close()


class AiohttpSender:
    """Sends over aiohttp; `Sender` says what it promises."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._headings = Headings(route.headers)
        self._options = socket_options(route.longest_s)
        self._proxy = URL(route.proxy) if route.proxy else None
        # The exchange's own limit bounds connecting too (Watch.limit).
        self._limits = aiohttp.ClientTimeout(total=None)
        self._connectors: dict[bool, aiohttp.TCPConnector] = {}
        self._busy: set[_Exchange] = set()
        self._closed = False

    async def send(
        self, call: Call, *, timeout_s: float = 60.0, guard: Guard | None = None
    ) -> Answer:
        """Send one call; `Sender.send` says what comes back."""
        if self._closed:
            return Silence(sent=False, why="unknown", detail="the sender is closed")
        exchange = _Exchange(Watch(guard, has_body=call.body is not None))
        self._busy.add(exchange)
        whole = False
        try:
            async with exchange.watch.limit(timeout_s, self._route.connect_s):
                response = await self._answer(exchange, call)
                body = await _body(response)
            whole = True
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the request may have left
            return self._silence(trouble, exchange)
        finally:
            self._busy.discard(exchange)
            if not whole:
                await exchange.end()
        return Reply(response.status, _HeaderView(response.headers), body)

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
        exchange = _Exchange(Watch(guard, has_body=call.body is not None))
        self._busy.add(exchange)
        whole = False
        last: Answer | None = None
        try:
            async with exchange.watch.limit(timeout_s, self._route.connect_s):
                response = await self._answer(exchange, call)
                headers = _HeaderView(response.headers)
                streams = is_stream(response.status, headers)
                if not streams:
                    last = Reply(response.status, headers, await _body(response))
            if streams:
                parser = EventParser()
                inflater = inflater_for(headers.get("content-encoding", ""))
                while True:
                    async with asyncio.timeout(idle_s):
                        part = await response.content.readany()
                    if not part:
                        break
                    for event in parser.feed(inflater.feed(part) if inflater else part):
                        yield event
                if inflater is not None:
                    inflater.finish()
                last = parser.finish()
            whole = True
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the request may have left
            last = self._silence(trouble, exchange)
        finally:
            self._busy.discard(exchange)
            if not whole:
                await exchange.end()
        if last is not None:
            yield last

    async def hang_up(self) -> None:
        """Close every connection, hard; what is under way ends as a silence. Usable again."""
        stopped = [*self._busy]
        for exchange in stopped:
            exchange.watch.stop()
            exchange.hang_up()
        connectors = [*self._connectors.values()]
        self._connectors.clear()
        # A closed connector forgets a tunnel that is half made, and leaves its socket open.
        for _ in range(TURNS_TO_STOP):
            if self._busy.isdisjoint(stopped):
                break
            await asyncio.sleep(0)
        for connector in connectors:
            await connector.close(abort_ssl=True)

    async def aclose(self) -> None:
        """Hang up for good: later calls are not sent."""
        self._closed = True
        await self.hang_up()

    async def _answer(self, exchange: _Exchange, call: Call) -> aiohttp.ClientResponse:
        """Connect, send and wait for the answer's head."""
        watch = exchange.watch
        connector = self._connector(creates=call.creates)
        request = self._request(call, watch)
        connection = await connector.connect(request, traces=[], timeout=self._limits)
        # An answer that nobody asked for (a 408 before closing, a second answer to the call before)
        # waits in such a connection and would be taken for ours.
        for _ in range(MOST_SPOILT):
            if connection.protocol is not None and not connection.protocol.should_close:
                break
            connection.close()
            connection = await connector.connect(request, traces=[], timeout=self._limits)
        exchange.connection = connection
        exchange.transport = connection.transport
        if connection.protocol is None or connection.protocol.should_close:
            raise aiohttp.ServerDisconnectedError("the server talks before it is asked")
        connection.protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        watch.before_headers()
        exchange.response = response = await request.send(connection)
        await response.start(connection)
        watch.stage = Stage.ANSWERING
        return response

    def _request(self, call: Call, watch: Watch) -> _Request:
        query = f"?{call.query}" if call.query else ""
        return _Request(
            call.method,
            URL(f"{self._route.base_url}{call.path}{query}", encoded=True),
            headers=self._headings.of(call),
            data=None if call.body is None else _Body(call.body, watch),
            loop=asyncio.get_running_loop(),
            proxy=self._proxy,
        )

    def _connector(self, *, creates: bool) -> aiohttp.TCPConnector:
        """Return the connector for creates or for the rest, made in the loop that uses it.

        Two, because aiohttp keeps one idle time for all that a connector holds. No limit on either:
        how much is in flight is decided above, and polls must not wait behind creates.
        """
        connector = self._connectors.get(creates)
        if connector is None:
            route = self._route
            connector = aiohttp.TCPConnector(
                ssl=route.trust,
                limit=0,
                keepalive_timeout=route.keep_create_s if creates else route.keep_s,
                socket_factory=_socket_factory(self._options),
            )
            self._connectors[creates] = connector
        return connector

    def _silence(self, trouble: BaseException, exchange: _Exchange) -> Silence:
        return silence_of(trouble, exchange.watch, proxied=self._proxy is not None)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    # Not by aiohttp, which takes half a compressed body for a whole one.
    return inflated(await response.read(), response.headers.get("content-encoding", ""))


def _socket_factory(options: tuple[SocketOption, ...]) -> aiohttp.SocketFactoryType:
    def made(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made_socket = socket.socket(family, kind, protocol)
        made_socket.settimeout(0)
        for option in options:
            made_socket.setsockopt(*option)
        return made_socket

    return made
