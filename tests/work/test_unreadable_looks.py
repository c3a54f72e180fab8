"""A doubt that the items of a conversation cannot settle: it ends, as held, and nothing runs twice."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from simulator_process import SimulatorProcess

from runner.app import Commands
from runner.config import load

MADE = ("drop_after", "error_500_after")
ITEMS = [{"type": "message", "role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.3") as one:
        yield one


def carried(
    server: SimulatorProcess, folder: Path, faults: tuple[str, ...], given: object
) -> list[dict[str, object]]:
    """Carry a job for each fault, each in a conversation of its own, and return its row."""
    lines = [
        {
            "custom_id": fault,
            "model": "m",
            "input": given,
            "metadata": {"fault": fault, "case": f"{folder.name}-{fault}"},
        }
        for fault in faults
    ]
    manifest = folder / "m.jsonl"
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    settings = load(
        {
            "db": str(folder / "r.db"),
            "base_url": server.url,
            "dialect": "responses",
            "dialect_option": ("conversation=1",),
            "doubt_wait": 0.2,
            "stop_after": 30.0,
        },
        environ={},
    )
    with Commands(settings) as commands:
        done = commands.run([str(manifest)], BytesIO(), out=str(folder / "o.jsonl"))
    assert done.exit_code == 1, "stopped before its end"
    return [json.loads(line) for line in (folder / "o.jsonl").read_text("utf-8").splitlines()]


def test_items_that_name_no_response_end_the_looks_and_the_reason_is_told(
    server: SimulatorProcess, tmp_path: Path
) -> None:
    rows = carried(server, tmp_path, MADE, "Hi")
    assert {f"{row['state']} {row['status']}" for row in rows} == {"failed in_doubt"}
    for row in rows:
        error = row["error"]
        assert isinstance(error, dict)
        assert "no item" in error["message"]
    assert server.audit().repeated("tag") == {}


def test_an_empty_conversation_is_no_proof_while_a_response_may_still_go_on(
    server: SimulatorProcess, tmp_path: Path
) -> None:
    server.set(duration="fixed:3")
    rows = carried(server, tmp_path, (*MADE, "reset_before"), ITEMS)
    server.set(duration="fixed:0.3")
    assert {f"{row['state']} {row['status']}" for row in rows} == {"failed in_doubt"}
    assert {row["attempts"] for row in rows} == {1}
    assert server.audit().repeated("case") == {}
