"""A server on a raw socket that breaks in the ways that servers break.

The last segment of a request's path names the way. It runs in a thread with a loop of its own, and
tells what it saw: whole requests, bytes that arrived, how each connection ended.
"""

import asyncio
import gzip
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio.to_thread

RUN = b'{"id":"run_1","object":"thread.run","status":"queued"}'
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Request:
    """One whole request as it arrived."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)


@dataclass
class Line:
    """One connection: what arrived on it, and how it ended ("eof", "reset" or "" for not yet)."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    arrived: int = 0
    ended: str = ""
    requests: list[Request] = field(default_factory=list)


def answer(body: bytes = RUN, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class BrokenServer:
    def __init__(self) -> None:
        self.port = 0
        self.lines: list[Line] = []
        self.requests: list[Request] = []
        self.ends: queue.Queue[Line] = queue.Queue()
        self.closed: queue.Queue[Line] = queue.Queue()
        self.opened: queue.Queue[Line] = queue.Queue()
        self.whole: queue.Queue[Request] = queue.Queue()
        self.release = asyncio.Event()
        self.tunnels_to = 0
        self.taking: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def an_end(self) -> Line:
        """Wait until a connection was ended by the client."""
        return await anyio.to_thread.run_sync(partial(self.ends.get, timeout=PATIENCE_S))

    async def an_opening(self) -> Line:
        """Wait until a connection was taken."""
        return await anyio.to_thread.run_sync(partial(self.opened.get, timeout=PATIENCE_S))

    async def whole_requests(self, number: int) -> None:
        """Wait until so many more whole requests have arrived."""

        def wait() -> None:
            for _ in range(number):
                self.whole.get(timeout=PATIENCE_S)

        await anyio.to_thread.run_sync(wait)

    async def a_close(self) -> Line:
        """Wait until the server has closed a connection by itself."""
        return await anyio.to_thread.run_sync(partial(self.closed.get, timeout=PATIENCE_S))

    def go_on(self) -> None:
        """Let all go on that waits for it."""
        self._loop.call_soon_threadsafe(self.release.set)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        self.lines.append(line)
        self.opened.put(line)
        task = asyncio.current_task()
        assert task is not None
        self.taking.add(task)
        try:
            while await self._one(line):
                pass
            # In parts: a reset throws away what one long read has collected.
            while part := await reader.read(65536):
                line.arrived += len(part)
            line.ended = "eof"
        except asyncio.IncompleteReadError as error:
            line.arrived += len(error.partial)
            line.ended = "eof"
        except (ConnectionError, ssl.SSLError, TimeoutError):
            # What lies unread: a reset hides it from the reader.
            line.arrived += len(getattr(reader, "_buffer", b""))
            line.ended = "reset"
        except asyncio.CancelledError:
            line.ended = "stopped"
        finally:
            self.taking.discard(task)
            writer.transport.abort()
            self.ends.put(line)

    async def _one(self, line: Line) -> bool:
        head = await line.reader.readuntil(b"\r\n\r\n")
        line.arrived += len(head)
        first, *rest = head.decode("latin-1").split("\r\n")[:-2]
        headers = tuple(
            (name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in rest)
        )
        target = first.split()[1].partition("?")[0]
        way = target.rpartition("/")[2] if not first.startswith("CONNECT") else "connect"
        length = int(dict(headers).get("content-length", 0))
        if way in WAYS_BEFORE_BODY:
            return await WAYS_BEFORE_BODY[way](self, line)
        body = await line.reader.readexactly(length)
        line.arrived += length
        request = Request(first, headers, body)
        line.requests.append(request)
        self.requests.append(request)
        self.whole.put(request)
        return await WAYS[way](self, line)

    def end(self, line: Line) -> bool:
        line.writer.close()
        self.closed.put(line)
        return False

    def reset(self, line: Line) -> bool:
        line.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
        )
        line.writer.transport.abort()
        return False

    async def say(self, line: Line, *parts: bytes) -> None:
        for part in parts:
            line.writer.write(part)
            await line.writer.drain()


Way = Callable[[BrokenServer, Line], Awaitable[bool]]
WAYS: dict[str, Way] = {}
WAYS_BEFORE_BODY: dict[str, Way] = {}


def way(ways: dict[str, Way] = WAYS) -> Callable[[Way], Way]:
    def kept(done: Way) -> Way:
        ways[getattr(done, "__name__", "")] = done
        return done

    return kept


def saying(name: str, *parts: bytes, then: str = "stay") -> None:
    """Add a way that says something, then stays on the line, closes it, or resets it."""

    async def said(server: BrokenServer, line: Line) -> bool:
        await server.say(line, *parts)
        if then == "end":
            return server.end(line)
        if then == "reset":
            return server.reset(line)
        return then == "stay"

    WAYS[name] = said


OPENING = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
saying("ok", answer(RUN, "200 OK", "Content-Type: application/json", "X-Request-Id: req_1"))
saying("ok_then_close", answer(), then="end")
saying("says_close", answer(RUN, "200 OK", "connection: close"), then="end")
saying("close_after_reading", then="end")
saying("reset_after_reading", then="reset")
saying("half_a_head", b"HTTP/1.1 200 OK\r\ncontent-le", then="end")
saying("truncated_length", OPENING + b"content-length: 900\r\n\r\n" + RUN, then="end")
saying("truncated_chunk", OPENING + b"transfer-encoding: chunked\r\n\r\n384\r\n" + RUN, then="end")
saying(
    "missing_last_chunk", OPENING + b"transfer-encoding: chunked\r\n\r\n" + chunk(RUN), then="end"
)
saying("reset_in_body", OPENING + b"content-length: 900\r\n\r\n" + RUN, then="reset")
saying("garbage", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\nno HTTP here\r\n\r\n", then="end")
saying("bad_chunk", OPENING + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + RUN, then="end")
saying("never", then="hang")
saying("stalls_in_body", OPENING + b"content-length: 900\r\n\r\n" + RUN, then="hang")
saying("no_content", b"HTTP/1.1 204 No Content\r\n\r\n")
saying("until_close", OPENING + b"connection: close\r\n\r\n" + RUN, then="end")
saying("hints_first", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + answer())
saying("gzip", answer(gzip.compress(RUN), "200 OK", "content-encoding: gzip"))
saying("half_gzip", answer(gzip.compress(RUN * 90)[:60], "200 OK", "content-encoding: gzip"))
saying("no_gzip", answer(RUN, "200 OK", "content-encoding: gzip"))
saying("moved", answer(b"", "307 Temporary Redirect", "location: /v1/ok"))
saying("twice_told", answer(RUN, "200 OK", "warning: one", "x-a: b", "Warning: two"))
saying("large", answer(b"x" * 5_000_000))
saying("refuses", answer(b'{"error":{}}', "429 Too Many Requests", "retry-after: 1"))
saying("two_answers", answer() + answer(b'{"id":"run_of_nobody"}'))
saying(
    "stream",
    STREAM_HEAD,
    chunk(b'event: thread.run.created\ndata: {"id":'),
    chunk(b'"run_1"}\n\n: comment\nevent: done\nda'),
    chunk(b"ta: [DONE]\n\n"),
    b"0\r\n\r\n",
)
saying("stream_cut", STREAM_HEAD, chunk(b"data: one\n\ndata: tw"), then="end")
saying("stream_half_event", STREAM_HEAD, chunk(b"data: one\n\ndata: two\n"), b"0\r\n\r\n")
saying("stream_stalls", STREAM_HEAD, chunk(b"data: one\n\n"), then="hang")


@way()
async def trickles(server: BrokenServer, line: Line) -> bool:
    await server.say(line, OPENING + b"content-length: 900\r\n\r\n")
    while True:
        await server.say(line, b"x")
        await asyncio.sleep(0.05)


@way()
async def after_a_while(server: BrokenServer, line: Line) -> bool:
    await asyncio.sleep(0.7)
    await server.say(line, answer())
    return True


@way()
async def when_told(server: BrokenServer, line: Line) -> bool:
    await server.release.wait()
    await server.say(line, answer())
    return True


@way()
async def stream_reset(server: BrokenServer, line: Line) -> bool:
    await server.say(line, STREAM_HEAD, chunk(b"data: one\n\n"))
    await server.release.wait()
    return server.reset(line)


@way()
async def first_only(server: BrokenServer, line: Line) -> bool:
    """Answer a connection's first request; close at its second without a word."""
    if len(line.requests) > 1:
        return server.end(line)
    await server.say(line, answer())
    return True


@way(WAYS_BEFORE_BODY)
async def reads_when_told(server: BrokenServer, _line: Line) -> bool:
    await server.release.wait()
    return False


@way(WAYS_BEFORE_BODY)
async def answers_before_body(server: BrokenServer, line: Line) -> bool:
    await server.say(line, answer(b'{"error":{}}', "413 Content Too Large", "connection: close"))
    return False


@way(WAYS_BEFORE_BODY)
async def connect(server: BrokenServer, line: Line) -> bool:
    """Be a proxy: refuse with 403, say nothing (-1), or tunnel to a port."""
    if server.tunnels_to < 0:
        return False
    if not server.tunnels_to:
        await server.say(line, answer(b"", "403 Forbidden"))
        return server.end(line)
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.tunnels_to)
    await server.say(line, b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while part := await source.read(65536):
                target.write(part)
        except ConnectionError:
            pass
        finally:
            target.transport.abort()

    await asyncio.gather(pump(line.reader, there_writer), pump(there_reader, line.writer))
    return False


@contextmanager
def serving(trust: ssl.SSLContext | None = None) -> Iterator[BrokenServer]:
    """Run a server in a thread for the length of a `with`."""
    server = BrokenServer()
    ready = threading.Event()
    done: list[asyncio.Event] = []

    async def run() -> None:
        stop = asyncio.Event()
        done.append(stop)
        listening = await asyncio.start_server(
            server.take, "127.0.0.1", 0, ssl=trust, backlog=1000, limit=2**20
        )
        server.port = listening.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        # Not closed yet: of a closed server asyncio drops what it is accepting, socket and all.
        for one in listening.sockets:
            server._loop.remove_reader(one.fileno())
        # What the loop is still accepting becomes a line of its own, so until nothing is left.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for taking in server.taking:
                taking.cancel()
            await asyncio.wait(others, timeout=0.05)
        # Whatever the loop still holds: a connection may be closed before it became a line.
        for transport in [*getattr(server._loop, "_transports", {}).values()]:
            transport.abort()
        listening.close()
        await asyncio.sleep(0.01)

    thread = threading.Thread(target=server._loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    ready.wait(PATIENCE_S)
    try:
        yield server
    finally:
        server._loop.call_soon_threadsafe(done[0].set)
        thread.join(PATIENCE_S)
        server._loop.close()
