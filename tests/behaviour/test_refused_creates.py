"""Creates that are refused in threads made a moment ago: what stops a batch there, and what does not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import count
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from typing import TypeAlias, cast

from runner.app import Commands
from runner.carrying import Carried
from runner.config import load

Row: TypeAlias = dict[str, object]


class Refusing(ThreadingHTTPServer):
    """Makes a thread at its leisure and refuses creates in it: all of them, or each first one."""

    daemon_threads = True

    def __init__(self, *, always: bool) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.always = always
        self.lock = Lock()
        self.never = Event()
        self.rng = Random(5)
        self.numbers = count(1)
        self.asked: dict[str, int] = {}
        self.made: list[str] = []

    def thread_takes_s(self) -> float:
        with self.lock:
            return self.rng.uniform(0.1, 0.6) if self.always else 0.0


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def refusing(self) -> Refusing:
        return cast("Refusing", self.server)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        parts = self.path.strip("/").split("/")
        if parts[-1] == "threads":
            self.refusing.never.wait(self.refusing.thread_takes_s())
            return self.tell(
                200, {"id": f"thread_{next(self.refusing.numbers)}", "object": "thread"}
            )
        thread = parts[-2]
        with self.refusing.lock:
            before = self.refusing.asked[thread] = self.refusing.asked.get(thread, 0) + 1
        if self.refusing.always:
            return self.tell(400, {"error": {"message": "This tier may not.", "type": "x"}})
        if before == 1:
            said = f"No thread found with id '{thread}'."
            return self.tell(404, {"error": {"message": said, "type": "invalid_request_error"}})
        self.refusing.made.append(thread)
        run = {"id": f"run_of_{thread}", "object": "thread.run", "thread_id": thread}
        return self.tell(200, run | {"status": "completed", "metadata": {}})

    def tell(self, status: int, what: dict[str, object]) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Tell nothing."""


@contextmanager
def refusing(*, always: bool) -> Iterator[Refusing]:
    server = Refusing(always=always)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def carried(server: Refusing, jobs: int, folder: Path) -> tuple[Carried, list[Row]]:
    """Carry so many jobs, each with a thread to be made; return how it ended and the results."""
    manifest, out = folder / "m.jsonl", folder / "o.jsonl"
    lines = [{"custom_id": f"q-{n}", "assistant_id": "a", "thread": {}} for n in range(jobs)]
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    host, port = server.server_address[:2]
    given = {"db": str(folder / "r.db"), "base_url": f"http://{host!s}:{port}/v1"}
    with Commands(load(given, environ={})) as commands:
        end = commands.run([str(manifest)], BytesIO(), out=str(out))
    return end, [json.loads(row) for row in out.read_text("utf-8").splitlines()]


def test_threads_that_are_still_being_made_hide_no_row_of_refusals(tmp_path: Path) -> None:
    with refusing(always=True) as server:
        end, rows = carried(server, 200, tmp_path)
    assert end.exit_code == 3
    assert "in a row: HTTP 400: This tier may not." in end.ending.stopped
    # So many may be under way when it stops.
    assert 10 <= len(rows) < 60


def test_a_thread_of_a_moment_ago_may_be_unknown_and_stops_nothing(tmp_path: Path) -> None:
    with refusing(always=False) as server:
        end, rows = carried(server, 30, tmp_path)
    assert end.exit_code == 0
    assert {row["status"] for row in rows} == {"completed"}
    assert {row["attempts"] for row in rows} == {2}
    assert len(set(server.made)) == len(server.made) == 30
