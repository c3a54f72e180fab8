"""One slow assistant does not hold up the others, and batches share by weight."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulator_process import SimulatorProcess

from runner.app import Commands
from runner.config import Value, load


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.05") as simulator:
        yield simulator


def line(name: str, assistant: str, fate: str) -> str:
    metadata = {"case": name, "fate": fate}
    body = {"thread_id": f"thread_{name}", "assistant_id": assistant, "metadata": metadata}
    return json.dumps({"custom_id": name, **body}) + "\n"


def flags(server: SimulatorProcess, db: Path, **more: Value) -> dict[str, Value]:
    return {"db": str(db), "base_url": server.url, "concurrency": 4, **more}


def test_a_slow_assistant_holds_up_no_more_than_its_share(
    server: SimulatorProcess, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.jsonl"
    lines = [line(f"slow-{i}", "asst_slow", "slow:0.8") for i in range(12)]
    lines += [line(f"fast-{i}", "asst_fast", "completed") for i in range(12)]
    manifest.write_text("".join(lines))
    out = tmp_path / "o.jsonl"
    with Commands(load(flags(server, tmp_path / "r.db"), environ={})) as runner:
        assert runner.run([str(manifest)], io.BytesIO(), out=str(out)).exit_code == 0
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    ended = [row["custom_id"] for row in sorted(rows, key=lambda row: row["ended_at"])]
    # In manifest order every slow one would be sent before the first fast one.
    last_fast = max(ended.index(f"fast-{i}") for i in range(12))
    assert sum(name.startswith("slow") for name in ended[:last_fast]) <= 6


def test_batches_are_sent_in_proportion_to_their_weights(
    server: SimulatorProcess, tmp_path: Path
) -> None:
    db = tmp_path / "r.db"
    for name, weight in (("heavy", 3), ("light", 1)):
        manifest = tmp_path / f"{name}.jsonl"
        manifest.write_text("".join(line(f"{name}-{i}", "asst_1", "completed") for i in range(60)))
        with Commands(load(flags(server, db, priority=weight), environ={})) as runner:
            runner.queue([str(manifest)], io.BytesIO())
    with Commands(load(flags(server, db), environ={})) as runner:
        assert runner.work(()).exit_code == 0
        outcomes = [
            outcome
            for name in ("heavy", "light")
            for outcome in runner.outcomes(runner.one(name).id)
        ]
    first = sorted(outcomes, key=lambda outcome: outcome.created_ms)[:40]
    heavy = sum(outcome.batch == "heavy" for outcome in first)
    assert 24 <= heavy <= 36
