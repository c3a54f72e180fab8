"""Creates that are refused in threads made a moment ago: what stops a batch there, and what does not."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import count
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from typing import cast

import pytest

from runner.app import Commands
from runner.config import load


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


@pytest.fixture(params=[True, False], ids=["always", "at first"])
def refusing(request: pytest.FixtureRequest) -> Iterator[Refusing]:
    server = Refusing(always=request.param)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_threads_that_are_still_made_hide_no_row_and_a_young_one_may_be_unknown(
    refusing: Refusing, tmp_path: Path
) -> None:
    jobs, out = 200 if refusing.always else 30, tmp_path / "o.jsonl"
    manifest = tmp_path / "m.jsonl"
    lines = [{"custom_id": f"q-{n}", "assistant_id": "a", "thread": {}} for n in range(jobs)]
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    host, port = refusing.server_address[:2]
    given = {"db": str(tmp_path / "r.db"), "base_url": f"http://{host!s}:{port}/v1"}
    with Commands(load(given, environ={})) as commands:
        carried = commands.run([str(manifest)], BytesIO(), out=str(out))
    rows = [json.loads(row) for row in out.read_text("utf-8").splitlines()]
    if refusing.always:
        assert carried.exit_code == 3
        assert "in a row: HTTP 400: This tier may not." in carried.ending.stopped
        # So many may be under way when it stops.
        assert 10 <= len(rows) < 60
    else:
        assert carried.exit_code == 0
        assert {row["status"] for row in rows} == {"completed"}
        assert {row["attempts"] for row in rows} == {2}
        assert len(set(refusing.made)) == len(refusing.made) == jobs
