"""The aiohttp sender: the fast one (`runner[fast]`).

It drives aiohttp's connector and its parser of answers without `ClientSession`, which costs a sixth
of a request's time for what we do not want (cookies, redirects, environment) and repeats an
idempotent request by itself; and without `ClientRequest` on the way out, which costs a task and a
dozen objects for what is one write of bytes that we know. So the line between "connecting" and
"sending" is a line of this file. Idle connections are kept here too, since one host has no use for
aiohttp's pool.
"""

import asyncio
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeVar, overload

import aiohttp
from msgspec import Struct
from multidict import CIMultiDictProxy
from yarl import URL

from runner.core.call import Answer, Call, Reply, Silence
from runner.http.deadlines import Deadlines
from runner.http.encoding import inflated, inflater_for
from runner.http.route import UNSAFE, Headings, Route
from runner.http.sender import Guard, StreamEvent
from runner.http.silence import Stage, Watch, silence_of
from runner.http.sockets import SocketOption, socket_options
from runner.http.sse import EventParser, is_stream

T = TypeVar("T")

# How many turns of the loop a stopped exchange may take to end; two or three are seen.
TURNS_TO_STOP = 50
# So many kinds of requests have their header lines kept; a dialect has a handful.
MOST_SAID = 64
# What would end a line of the request's head before its time.
NOT_IN_A_HEAD = re.compile(r"[\x00\r\n]")


class _HeaderView(Mapping[str, str]):
    """An answer's headers: found by name in any case, told in lower case, repeated ones joined."""

    __slots__ = ("_headers",)

    def __init__(self, headers: CIMultiDictProxy[str]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        values = self._headers.getall(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def __contains__(self, name: object) -> bool:
        # Not by an exception, as Mapping does it: most names that are asked for are not there.
        return name in self._headers

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...

    @overload
    def get(self, name: str, default: T, /) -> str | T: ...

    def get(self, name: str, default: T | None = None, /) -> str | T | None:
        """Return a header's value, or the default."""
        return self[name] if name in self._headers else default

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name in self._headers))

    def __len__(self) -> int:
        return len({name.lower() for name in self._headers})

    def __repr__(self) -> str:
        return repr(dict(self))


class _Head(Struct, frozen=True):
    """An answer's head, and where its body comes from."""

    status: int
    headers: CIMultiDictProxy[str]
    content: aiohttp.StreamReader

    async def body(self) -> bytes:
        """Return the whole body; not inflated by aiohttp, which takes half a body for a whole."""
        content = self.content
        whole = content.read_nowait() if content.is_eof() else await content.read()
        return inflated(whole, self.headers.get("content-encoding", ""))


class _Idle(Struct, frozen=True):
    """A connection that waits for its next request, and since when."""

    connection: aiohttp.connector.Connection
    since_s: float


class _Exchange:
    """One request's way: the connection that it was given, and the answer to it."""

    __slots__ = ("connection", "watch")

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.connection: aiohttp.connector.Connection | None = None

    async def end(self) -> None:
        """Hang up, and come back when the socket is closed: asyncio does so at its next turn."""
        self.hang_up()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Close the connection that it was given, if it was."""
        if self.connection is not None:
            _end(self.connection)


class AiohttpSender:
    """Sends over aiohttp; `Sender` says what it promises."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._headings = Headings(route.headers)
        self._url = URL(route.base_url, encoded=True)
        self._path = self._url.raw_path.rstrip("/")
        self._options = socket_options(route.longest_s)
        self._proxy = URL(route.proxy) if route.proxy else None
        # The exchange's own limit bounds connecting too (Watch.limit).
        self._limits = aiohttp.ClientTimeout(total=None)
        self._connector: aiohttp.TCPConnector | None = None
        self._idle: deque[_Idle] = deque()
        self._tidying: asyncio.TimerHandle | None = None
        self._destination: aiohttp.ClientRequest | None = None
        self._busy: set[_Exchange] = set()
        self._deadlines = Deadlines()
        self._said: dict[tuple[tuple[tuple[str, str], ...], bool, bool], str] = {}
        self._closed = False

    async def send(
        self, call: Call, *, timeout_s: float = 60.0, guard: Guard | None = None
    ) -> Answer:
        """Send one call; `Sender.send` says what comes back."""
        if self._closed:
            return Silence(sent=False, why="unknown", detail="the sender is closed")
        exchange = _Exchange(Watch(guard, self._deadlines, has_body=call.body is not None))
        self._busy.add(exchange)
        whole = False
        try:
            with exchange.watch.limit(timeout_s, self._route.connect_s):
                head = await self._answer(exchange, call)
                body = await head.body()
            whole = True
            self._keep(exchange)
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the request may have left
            return self._silence(trouble, exchange)
        finally:
            self._busy.discard(exchange)
            if not whole:
                await exchange.end()
        return Reply(head.status, _HeaderView(head.headers), body)

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
        exchange = _Exchange(Watch(guard, self._deadlines, has_body=call.body is not None))
        self._busy.add(exchange)
        whole = False
        last: Answer | None = None
        try:
            with exchange.watch.limit(timeout_s, self._route.connect_s):
                head = await self._answer(exchange, call)
                headers = _HeaderView(head.headers)
                streams = is_stream(head.status, headers)
                if not streams:
                    last = Reply(head.status, headers, await head.body())
            if streams:
                parser = EventParser()
                inflater = inflater_for(headers.get("content-encoding", ""))
                while True:
                    async with asyncio.timeout(idle_s):
                        part = await head.content.readany()
                    if not part:
                        break
                    for event in parser.feed(inflater.feed(part) if inflater else part):
                        yield event
                if inflater is not None:
                    inflater.finish()
                last = parser.finish()
            whole = True
            self._keep(exchange)
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
        connector, self._connector = self._connector, None
        while self._idle:
            _end(self._idle.pop().connection)
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        # A closed connector forgets a tunnel that is half made, and leaves its socket open.
        for _ in range(TURNS_TO_STOP):
            if self._busy.isdisjoint(stopped):
                break
            await asyncio.sleep(0)
        if connector is not None:
            await connector.close(abort_ssl=True)

    async def aclose(self) -> None:
        """Hang up for good: later calls are not sent."""
        self._closed = True
        await self.hang_up()

    async def _answer(self, exchange: _Exchange, call: Call) -> _Head:
        """Connect, send and wait for the answer's head."""
        watch = exchange.watch
        where = self._to_connect()
        head = self._head(call, where)
        connection = self._kept(creates=call.creates)
        if connection is None:
            connector = self._connecting()
            connection = await connector.connect(where, traces=[], timeout=self._limits)
        exchange.connection = connection
        transport, protocol = connection.transport, connection.protocol
        if protocol is None or transport is None or protocol.should_close:
            raise aiohttp.ServerDisconnectedError("the server talks before it is asked")
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        watch.before_headers()
        watch.before_body()
        transport.write(head if call.body is None else head + call.body)
        while True:
            message, content = await protocol.read()
            # An interim answer (RFC 9110, 15.2) is followed by the one that counts.
            if not 100 <= message.code <= 199 or message.code == 101:
                break
        watch.stage = Stage.ANSWERING
        return _Head(message.code, message.headers, content)

    def _kept(self, *, creates: bool) -> aiohttp.connector.Connection | None:
        """Return the idle connection that was used last, if one is fit for another request."""
        keep_s = self._route.keep_create_s if creates else self._route.keep_s
        now = asyncio.get_running_loop().time()
        while self._idle and now - self._idle[-1].since_s < keep_s:
            connection = self._idle.pop().connection
            if _is_fit(connection):
                return connection
            _end(connection)
        return None

    def _keep(self, exchange: _Exchange) -> None:
        """Keep a connection whose answer was read to its end, if nothing more can come on it."""
        connection = exchange.connection
        if connection is None:
            return
        if self._closed or exchange.watch.stopped or not _is_fit(connection):
            _end(connection)
            return
        loop = asyncio.get_running_loop()
        self._idle.append(_Idle(connection, loop.time()))
        if self._tidying is None:
            self._tidying = loop.call_later(self._route.keep_s, self._tidy)

    def _tidy(self) -> None:
        """Close what has idled for too long; those in front were used last of all."""
        self._tidying = None
        loop = asyncio.get_running_loop()
        while self._idle and loop.time() - self._idle[0].since_s >= self._route.keep_s:
            _end(self._idle.popleft().connection)
        if self._idle:
            self._tidying = loop.call_later(self._route.keep_s, self._tidy)

    def _to_connect(self) -> aiohttp.ClientRequest:
        """Return where every call goes, in the words that a connector wants."""
        if self._destination is None:
            loop = asyncio.get_running_loop()
            self._destination = aiohttp.ClientRequest(
                "GET", self._url, loop=loop, proxy=self._proxy
            )
        return self._destination

    def _head(self, call: Call, where: aiohttp.ClientRequest) -> bytes:
        """Return the bytes before the body; raise ValueError for what would break out of them."""
        query = f"?{call.query}" if call.query else ""
        target = f"{self._path}{call.path}{query}"
        if not target.startswith("/"):
            target = f"/{target}"
        if self._proxy is not None and self._url.scheme == "http":
            # Without a tunnel the proxy is told the whole URL, and its password by each request.
            target = f"{self._url.origin()}{target}"
        if UNSAFE.search(target):
            raise ValueError("a control or a space in the URL's path")
        lines = self._lines_of(call, where)
        if call.body is not None or call.method != "GET":
            lines = f"{lines}content-length: {len(call.body or b'')}\r\n"
        return f"{call.method} {target} HTTP/1.1\r\n{lines}\r\n".encode()

    def _lines_of(self, call: Call, where: aiohttp.ClientRequest) -> str:
        """Return a call's header lines; reads have the same ones again and again."""
        kind = (call.headers, call.streams, call.body is None)
        lines = self._said.get(kind)
        if lines is None:
            headers = [("host", where.headers["host"]), *self._headings.of(call)]
            if self._proxy is not None and self._url.scheme == "http":
                headers += _proxy_authorization(self._proxy)
            lines = _lines(headers)
            if call.body is None and len(self._said) < MOST_SAID:
                self._said[kind] = lines
        return lines

    def _connecting(self) -> aiohttp.TCPConnector:
        """Return what makes connections, made in the loop that uses it.

        It has no limit: how much is in flight is decided above.
        """
        if self._connector is None:
            self._connector = aiohttp.TCPConnector(
                ssl=self._route.trust, limit=0, socket_factory=_socket_factory(self._options)
            )
        return self._connector

    def _silence(self, trouble: BaseException, exchange: _Exchange) -> Silence:
        return silence_of(trouble, exchange.watch, proxied=self._proxy is not None)


def _is_fit(connection: aiohttp.connector.Connection) -> bool:
    """Whether a connection may carry another request.

    An answer that nobody asked for (a 408 before closing, a second answer to the call before) waits
    in one that may not, and would be taken for ours.
    """
    protocol = connection.protocol
    return protocol is not None and protocol.is_connected() and not protocol.should_close


def _end(connection: aiohttp.connector.Connection) -> None:
    """Abort: a close would first send what the transport still holds."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


def _lines(headers: Sequence[tuple[str, str]]) -> str:
    """Return headers as the lines of a head; raise ValueError for what would break out of one."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    # The text as a whole first: to look at each line costs more than all else here.
    if "\0" in text or not text.count("\r") == text.count("\n") == len(headers):
        for name, value in headers:
            if NOT_IN_A_HEAD.search(f"{name}{value}"):
                raise ValueError(f"a line break in the header {name}")
    return text


def _proxy_authorization(proxy: URL) -> list[tuple[str, str]]:
    auth = aiohttp.BasicAuth.from_url(proxy)
    return [] if auth is None else [("proxy-authorization", auth.encode())]


def _socket_factory(options: tuple[SocketOption, ...]) -> aiohttp.SocketFactoryType:
    def made(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made_socket = socket.socket(family, kind, protocol)
        made_socket.settimeout(0)
        for option in options:
            made_socket.setsockopt(*option)
        return made_socket

    return made
