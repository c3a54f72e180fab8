"""A server that lasts a module, and a stage a test: `Commands` in this process, manifest to rows."""

import io
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from simulator_process import Audited, SimulatorProcess
from ways import given

from runner.app import Commands
from runner.carrying import Carried
from runner.composition import Talk
from runner.config import Value, load
from runner.core.view import View

Line = dict[str, object]
Row = dict[str, object]

QUIET: dict[str, object] = {
    "duration": "fixed:0.1",
    "latency": "fixed:0",
    "faults": {},
    "fate": {},
    "stall": 0.3,
    "late": 0.3,
    "close_idle": 0.0,
    "retry_after": "1",
    "quota_after": 0,
    "limit": 0,
    "window": 60.0,
    "limit_headers": "full",
    "token_limit": 0,
    "max_active": 0,
    "vague_429": False,
}
"""What a test may have changed, as it is when nothing is wrong."""

_stages = count(1)


@dataclass
class Stage:
    """One test's folder and its share of what the server saw.

    `settings` are the command's; its waits are small. The server is shared, so counts are told as
    what came since this stage was set, and threads and cases bear the stage's number.
    """

    folder: Path
    server: SimulatorProcess
    database: str = ""
    settings: dict[str, Value] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    views: list[View] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.set(**QUIET)
        self.number = next(_stages)
        self.settings = {
            "db": self.database or str(self.folder / "r.db"),
            "base_url": self.server.url,
            "doubt_wait": 1.0,
            "stale_wait": 1.0,
            "timeout": 20.0,
            **given(),
            **self.settings,
        }
        self._before = self.server.audit()
        self._runs_before = set(self.server.runs())

    # What goes in

    def thread(self, name: object) -> str:
        return f"thread_{self.number}_{name}"

    def line(self, name: str, *, thread: object = None, **metadata: str) -> Line:
        """Make a job on `thread`, None: on one of its own name. `metadata`: fate, fault, case."""
        return {
            "custom_id": name,
            "thread_id": self.thread(name if thread is None else thread),
            "assistant_id": "asst_1",
            "metadata": {"case": f"{self.number}-{name}", **metadata},
        }

    def lines(self, many: int, prefix: str = "job", **metadata: str) -> list[Line]:
        return [self.line(f"{prefix}-{i}", **metadata) for i in range(many)]

    def manifest(self, lines: Iterable[Line], name: str = "m.jsonl") -> str:
        path = self.folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        return str(path)

    # What is done

    def runner(
        self, see: Callable[[Commands, View], None] | None = None, **settings: Value
    ) -> Commands:
        def tick(view: View) -> None:
            self.views.append(view)
            if see is not None:
                see(made, view)

        talk = Talk(warn=self.warnings.append, tick=tick, every_s=0.05)
        made = Commands(load({**self.settings, **settings}, environ={}), talk=talk)
        return made

    def run(
        self,
        lines: Iterable[Line] | None = None,
        see: Callable[[Commands, View], None] | None = None,
        **settings: Value,
    ) -> Carried:
        """Run the manifest of `lines`, None: the one that is there."""
        path = str(self.folder / "m.jsonl") if lines is None else self.manifest(lines)
        with self.runner(see, **settings) as runner:
            return runner.run([path], io.BytesIO(), out=str(self.folder / "o.jsonl"))

    # What came of it

    def rows(self) -> list[Row]:
        with (self.folder / "o.jsonl").open(encoding="utf-8") as results:
            return [json.loads(line) for line in results]

    def ends(self) -> dict[str, str]:
        """Return each row's state and status by custom_id."""
        return {str(row["custom_id"]): f"{row['state']} {row['status']}" for row in self.rows()}

    def of(self, name: str) -> Row:
        return next(row for row in self.rows() if row["custom_id"] == name)

    def seen(self, name: str, among: str = "counts") -> int:
        """Return how often since the stage was set; names as in the audit."""
        return self.server.audit().count(name, among) - self._before.count(name, among)

    def runs(self) -> dict[str, dict[str, object]]:
        """Return the runs that were made since, in the order of their making."""
        found = self.server.runs()
        return {name: run for name, run in found.items() if name not in self._runs_before}

    def check_once_each(self, many: int) -> None:
        """Every job has one run, by the server's count and by its id in the rows."""
        audit = self.server.audit()
        assert audit.repeated("tag") == {}
        runs = self.runs()
        assert len(runs) == many
        assert sorted(str(row["run_id"]) for row in self.rows()) == sorted(runs)

    def arrivals(self) -> list[tuple[float, int]]:
        """Return the server's time and answer of each create of this stage, in order."""
        found = self.server.get("/_arrivals")["creates"]
        if not isinstance(found, list):
            raise TypeError(found)
        every = [(float(at), int(status)) for at, status in found]
        return every[len(every) - self.seen("create_requests") :]


def most_in_a_window(times: Iterable[float], span_s: float) -> int:
    """Return how many of `times`, in order, lie in the fullest half-open span of so many seconds."""
    kept: list[float] = []
    most = 0
    for at in times:
        kept = [then for then in kept if then > at - span_s]
        kept.append(at)
        most = max(most, len(kept))
    return most


def parts_of(value: object) -> dict[str, object]:
    """Return a JSON object of a row."""
    if not isinstance(value, dict):
        raise TypeError(f"no object: {value!r}")
    return value


__all__ = ["Audited", "Iterator", "Line", "Row", "Stage", "most_in_a_window", "parts_of"]


LIMIT_S = 20.0
"""How long a lock is held at most."""


def holding(stage: Stage, begin: threading.Event, until: Callable[[], bool]) -> threading.Thread:
    """Hold the database's write lock from `begin` until something has come about."""

    def hold() -> None:
        begin.wait(LIMIT_S)
        connection = sqlite3.connect(stage.folder / "r.db", timeout=LIMIT_S, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            pause = threading.Event()
            for _ in range(int(LIMIT_S / 0.05)):
                if until():
                    break
                pause.wait(0.05)
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    return thread
