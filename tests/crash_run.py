"""One manifest, one server in its own process, and a command that may be killed: for crash tests."""

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forked import PIPE, Forked
from simulator_process import SimulatorProcess
from ways import given

from runner.config import Value
from runner.core.points import Point

CHILD = "crash.child"
Line = dict[str, object]

OF_THE_COMMAND = {
    Point.QUEUE_BEFORE_COMMIT,
    Point.QUEUE_AFTER_COMMIT,
    Point.MIGRATION_BEFORE_COMMIT,
    Point.MIGRATION_AFTER_COMMIT,
    Point.EXPORT_BEFORE_RENAME,
    Point.EXPORT_AFTER_RENAME,
}
"""Points that the command meets itself where worker processes send."""


def lines(count: int) -> Iterator[Line]:
    """Make jobs of every kind that a crash can meet; each ends as `wanted` says."""
    for i in range(count):
        metadata: dict[str, str] = {"case": f"case-{i}"}
        line: Line = {"custom_id": f"job-{i}", "assistant_id": "asst_1", "metadata": metadata}
        match i % 6:
            case 0:
                line["thread_id"] = f"thread_{i}"
            case 1:
                line["thread_id"] = "thread_shared"
            case 2:
                metadata["fate"] = "requires_action"
                line["tool_outputs"] = {"lookup": "forty-two"}
                line["thread_id"] = f"thread_{i}"
            case 3:
                metadata["fault"] = "drop_after"
                line["thread_id"] = f"thread_{i}"
            case 4:
                metadata["fault"] = "reset_before"
            case _:
                metadata["fate"] = "slow:3600"
                line["thread_id"] = f"thread_{i}"
        yield line


def wanted(i: int) -> str:
    """The status that the job of this number ends with."""
    return "cancelled" if i % 6 == 5 else "completed"


@dataclass
class Scene:
    """A manifest and its server. `settings` are the command's, small so that waits are short."""

    folder: Path
    server: SimulatorProcess
    count: int
    url: str = ""
    settings: dict[str, Value] = field(
        default_factory=lambda: {
            "doubt_wait": 1.5,
            "stale_wait": 2.0,
            "deadline": 1.2,
            "timeout": 5.0,
            "lease": 3.0,
            **given(),
        }
    )

    def __post_init__(self) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines(self.count))
        (self.folder / "m.jsonl").write_text(text)

    @property
    def db(self) -> str:
        return self.url or str(self.folder / "r.db")

    @property
    def flags(self) -> dict[str, Value]:
        """The settings of a command on this scene's database and server."""
        return {"db": self.db, "base_url": self.server.url, **self.settings}

    def start(
        self, point: str = "-", nth: int = 1, *, workers: bool = False, own_group: bool = False
    ) -> Forked:
        """Start the command; it is killed at the point, or with `workers` one of its workers is."""
        words = [
            point,
            nth,
            self.db,
            self.folder / "o.jsonl",
            self.server.url,
            self.folder / "m.jsonl",
            json.dumps(self.settings),
            *([self.folder / "killed"] if workers else []),
        ]
        return Forked(CHILD, *words, own_group=own_group, stderr=PIPE)

    def run(
        self, point: str = "-", nth: int = 1, *, workers: bool = False, timeout: float = 90
    ) -> tuple[int, str]:
        child = self.start(point, nth, workers=workers)
        try:
            _, told = child.communicate(timeout=timeout)
        finally:
            child.kill()
        assert "Traceback" not in told, told
        return child.wait(), told

    def rows(self) -> list[dict[str, object]]:
        with (self.folder / "o.jsonl").open() as results:
            return [json.loads(line) for line in results]

    def check(self) -> None:
        """Every job at its end, one run each by the server's own count, rows in order."""
        rows = self.rows()
        assert [row["custom_id"] for row in rows] == [f"job-{i}" for i in range(self.count)]
        ended = {row["custom_id"]: (row["status"], row["error"]) for row in rows}
        others = {n: end for i, (n, end) in enumerate(ended.items()) if end[0] != wanted(i)}
        assert others == {}, f"ended otherwise: {others}"
        audit = self.server.audit()
        assert audit.repeated("tag") == {}
        assert audit.repeated("case") == {}
        runs = self.server.runs()
        assert len(runs) == self.count
        assert {row["run_id"] for row in rows} == set(runs)


KILLED = -signal.SIGKILL
__all__ = ["KILLED", "Scene", "Sequence", "lines", "wanted"]
