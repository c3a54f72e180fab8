"""Every documented value through a real server: it arrives as given, and the export echoes it."""

import json
from collections.abc import Iterator
from io import BytesIO

import pytest
from dialects.test_field_table import TABLE, V2, Row, field_of
from simulator_process import SimulatorProcess

from runner.app import Commands
from runner.config import load

ROWS = [one for one in TABLE if V2 in one.dialects]
NOT_ECHOED = {"additional_instructions", "additional_messages", "reasoning_effort"}
"""What no run object has (api-facts.md 2): the messages are the thread's then."""


def given(one: Row) -> str:
    """Return a row's value; the manifest's reader refuses a number that no double holds."""
    return one.good.replace("1E400", "1E300")


def lines() -> Iterator[bytes]:
    for number, one in enumerate(ROWS):
        field = field_of(one)
        head = "" if field == "assistant_id" else '"assistant_id":"asst_a",'
        yield f'{{"custom_id":"{number}",{head}"{field}":{given(one)}}}\n'.encode()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, object]]:
    """The body that arrived and the run of the exported row, a pair a line."""
    folder = tmp_path_factory.mktemp("fields")
    manifest, out = folder / "m.jsonl", folder / "o.jsonl"
    manifest.write_bytes(b"".join(lines()))
    with SimulatorProcess("--duration", "0.02") as server:
        flags = {"db": str(folder / "r.db"), "base_url": server.url, "tag": ""}
        with Commands(load(flags, environ={})) as commands:
            assert commands.run([str(manifest)], BytesIO(), out=str(out)).exit_code == 0
        bodies = server.bodies()
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    return [(bodies[row["run_id"]], row["run"]) for row in rows]


@pytest.mark.parametrize("one", ROWS, ids=str)
def test_a_documented_value_arrives_and_is_echoed(
    seen: list[tuple[object, object]], one: Row
) -> None:
    body, run = seen[ROWS.index(one)]
    field, value = field_of(one), json.loads(given(one))
    assert isinstance(body, dict)
    assert isinstance(run, dict)
    assert body[field] == value
    if field not in NOT_ECHOED and value is not None:
        assert run[field] == value


def test_what_is_not_echoed_is_in_no_run_object(seen: list[tuple[object, object]]) -> None:
    assert not [run for _, run in seen if isinstance(run, dict) and NOT_ECHOED & run.keys()]
