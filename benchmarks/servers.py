"""A small server of the run API in a process of its own: as cheap as can be, so that clients show.

`python -m benchmarks.servers` serves until its standard input closes. It shares nothing with
Runner's simulator, which keeps a journal and costs more than the loops that are compared here.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, Self, cast

from benchmarks.measure import ROOT, environment

Answer = tuple[int, bytes, bytes]
"""Status, further header lines, body."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TEXT = (
    b'"assistant_id":"asst_1","cancelled_at":null,"completed_at":null,"expires_at":null,'
    b'"failed_at":null,"incomplete_details":null,"instructions":"You are a helpful assistant.",'
    b'"last_error":null,"max_completion_tokens":null,"max_prompt_tokens":null,'
    b'"model":"gpt-4o-mini","parallel_tool_calls":true,"required_action":null,'
    b'"response_format":"auto","started_at":null,"temperature":1.0,"tool_choice":"auto",'
    b'"tools":[],"top_p":1.0,"truncation_strategy":{"type":"auto","last_messages":null},'
    b'"usage":{"prompt_tokens":123,"completion_tokens":45,"total_tokens":168}'
)


@dataclass(slots=True)
class Made:
    """A run: where it was made, when (seconds of the loop's clock and unix time), its metadata."""

    thread: str
    at: float
    unix: int
    metadata: bytes


@dataclass(slots=True)
class Book:
    """All runs, the limit, and what was seen.

    `limit` creates are admitted in any `window` seconds (0: all). The first `short` runs end
    `duration` seconds after their creation, later ones `hold` seconds after the newest creation.
    """

    limit: int = 0
    window: float = 10.0
    duration: float = 0.0
    short: int = sys.maxsize
    hold: float = 0.0
    runs: dict[str, Made] = field(default_factory=dict)
    log: deque[float] = field(default_factory=deque)
    first: float = 0.0
    newest: float = 0.0
    refused: int = 0
    reads: int = 0
    under_way: set[str] = field(default_factory=set)
    most_under_way: int = 0

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request."""
        if path == "/_seen":
            return 200, b"", json.dumps(self.seen()).encode()
        parts = path.partition("?")[0].strip("/").split("/")
        # /v1/threads/{thread}/runs[/{run}]
        if len(parts) < 4:
            return 404, b"", b'{"error":{"message":"no such path"}}'
        if method == "POST" and len(parts) == 4:
            return self.create(parts[2], body)
        if len(parts) == 4:
            return 200, b"", self.listed(parts[2])
        self.reads += 1
        made = self.runs.get(parts[4])
        if made is None:
            return 404, b"", b'{"error":{"message":"no such run"}}'
        return 200, b"", self.object(parts[4], made)

    def create(self, thread: str, body: bytes) -> Answer:
        """Admit a create or refuse it with what is left and how long to wait."""
        now = time.perf_counter()
        headers = b""
        if self.limit:
            while self.log and self.log[0] <= now - self.window:
                self.log.popleft()
            left = self.limit - len(self.log)
            reset = self.log[0] + self.window - now if self.log else 0.0
            if left <= 0:
                self.refused += 1
                told = _limits(self.limit, 0, reset) + b"retry-after: %d\r\n" % -int(-reset // 1)
                error = b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}'
                return 429, told, error
            self.log.append(now)
            headers = _limits(self.limit, left - 1, self.log[0] + self.window - now)
        self.first = self.first or now
        self.newest = now
        name = f"run_{len(self.runs):012d}"
        made = self.runs[name] = Made(thread, now, int(time.time()), _metadata(body))  # noqa: TID251 - the server's own clock
        if self.duration or len(self.runs) > self.short:
            self.under_way.add(name)
            self.most_under_way = max(self.most_under_way, len(self.under_way))
        return 200, headers, _object(name, made, b"queued")

    def object(self, name: str, made: Made) -> bytes:
        """Return a run as it stands."""
        now = time.perf_counter()
        short = int(name[4:]) < self.short
        over = now >= (made.at + self.duration if short else self.newest + self.hold)
        if over:
            self.under_way.discard(name)
        return _object(name, made, b"completed" if over else b"in_progress")

    def listed(self, thread: str) -> bytes:
        """Return a thread's runs, the newest first."""
        found = [
            self.object(name, made) for name, made in self.runs.items() if made.thread == thread
        ]
        return b'{"object":"list","data":[%s],"has_more":false}' % b",".join(reversed(found))

    def seen(self) -> dict[str, float]:
        """Return the figures: times are seconds of this process's clock."""
        return {
            "runs": len(self.runs),
            "refused": self.refused,
            "reads": self.reads,
            "first": self.first,
            "newest": self.newest,
            "most_under_way": self.most_under_way,
        }


def _limits(limit: int, left: int, reset_s: float) -> bytes:
    return (
        b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\n"
        b"x-ratelimit-reset-requests: %dms\r\n" % (limit, left, max(1, round(reset_s * 1000)))
    )


def _metadata(body: bytes) -> bytes:
    if b'"metadata"' not in body:
        return b"{}"
    return json.dumps(json.loads(body).get("metadata") or {}).encode()


def _object(name: str, made: Made, status: bytes) -> bytes:
    return (
        b'{"id":"%s","object":"thread.run","thread_id":"%s","status":"%s","created_at":%d,'
        b'"metadata":%s,%s}'
        % (name.encode(), made.thread.encode(), status, made.unix, made.metadata, _TEXT)
    )


class Parser(Protocol):
    """What is used of httptools' parser."""

    def feed_data(self, data: bytes) -> None: ...
    def get_method(self) -> bytes: ...


class Connection(asyncio.Protocol):
    """One connection, read by httptools, answered at once."""

    def __init__(self, book: Book) -> None:
        import httptools  # noqa: PLC0415 - an extra; without it uvicorn serves

        self.book = book
        self.parser = cast("Parser", httptools.HttpRequestParser(self))
        self.path = ""
        self.body = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path, self.body = url.decode("latin-1"), b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode("latin-1")
        status, headers, body = self.book.answer(method, self.path, self.body)
        if self.transport is not None:
            self.transport.write(
                b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
                % (status, headers, len(body), body)
            )


async def _serve_raw(book: Book) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(book), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


async def _serve_uvicorn(book: Book) -> None:
    import socket  # noqa: PLC0415 - the slower way only

    import uvicorn  # noqa: PLC0415 - the slower way only

    async def app(scope: dict[str, str], receive, send) -> None:  # type: ignore[no-untyped-def] # ASGI's shape
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        status, lines, text = book.answer(scope["method"], scope["path"], body)
        pairs = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n") if line]
        headers = [*pairs, (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, lifespan="off", log_level="error", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.should_exit = True
    await serving


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers")
    for name, kind, default in (
        ("--limit", int, 0),
        ("--window", float, 10.0),
        ("--duration", float, 0.0),
        ("--short", int, sys.maxsize),
        ("--hold", float, 0.0),
    ):
        parser.add_argument(name, type=kind, default=default)
    book = Book(**vars(parser.parse_args()))
    try:
        import httptools  # noqa: F401, PLC0415 - asked whether it is there

        serve = _serve_raw
    except ImportError:
        serve = _serve_uvicorn
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - an extra

        return uvloop.run(serve(book))
    return asyncio.run(serve(book))


class Server:
    """The server as a child process; ends with its context."""

    def __init__(self, **settings: float) -> None:
        words = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.servers", *words],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stdout = self._process.stdout
        line = stdout.readline() if stdout is not None else ""
        if not line:
            raise RuntimeError(f"the server ended with {self._process.wait()}")
        self.root = f"http://127.0.0.1:{int(line)}"
        self.url = f"{self.root}/v1"

    def seen(self) -> dict[str, float]:
        """Return what the server saw."""
        with _DIRECT.open(f"{self.root}/_seen", timeout=30) as answer:
            return cast("dict[str, float]", json.load(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


if __name__ == "__main__":
    main()
