"""Every documented value through a real server: it arrives as given, and the export echoes it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import pytest
from dialects.test_field_table import TABLE, V1, V2, Row, field_of
from simulator_process import SimulatorProcess

from runner.app import Commands
from runner.config import load
from runner.dialects.splice import take_apart

ROWS = [(name, one) for name in (V2, V1) for one in TABLE if name in one.dialects]
NOT_ECHOED = {"additional_instructions", "additional_messages", "reasoning_effort"}
"""What no run object has (api-facts.md 2): the messages are the thread's then."""


def given(one: Row) -> str:
    """Return a row's value; the manifest's reader refuses a number that no double holds."""
    return one.good.replace("1E400", "1E300")


def lines(name: str) -> Iterator[bytes]:
    for number, (dialect, one) in enumerate(ROWS):
        if dialect == name:
            field = field_of(one)
            head = "" if field == "assistant_id" else '"assistant_id":"asst_a",'
            yield f'{{"custom_id":"{number}",{head}"{field}":{given(one)}}}\n'.encode()


@dataclass(frozen=True)
class Seen:
    """What became of a line: the bytes of the fields that arrived, and the exported run."""

    arrived: dict[str, bytes]
    run: dict[str, object]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Seen]:
    """Each line by its number in the table."""
    found: dict[int, Seen] = {}
    with SimulatorProcess("--duration", "0.02") as server:
        for name in (V2, V1):
            folder = tmp_path_factory.mktemp(name)
            manifest, out = folder / "m.jsonl", folder / "o.jsonl"
            manifest.write_bytes(b"".join(lines(name)))
            flags = {
                "db": str(folder / "r.db"),
                "base_url": server.url,
                "tag": "",
                "dialect": name,
            }
            with Commands(load(flags, environ={})) as commands:
                assert commands.run([str(manifest)], BytesIO(), out=str(out)).exit_code == 0
            bodies = take_apart(server.read("/_bodies"))
            for line in out.read_bytes().splitlines():
                exported = json.loads(line)
                arrived = dict(take_apart(bodies[exported["run_id"]]))
                found[int(exported["custom_id"])] = Seen(arrived, exported["run"])
    return found


@pytest.mark.parametrize(
    "number", [pytest.param(i, id=f"{name}-{one}") for i, (name, one) in enumerate(ROWS)]
)
def test_a_documented_value_arrives_byte_for_byte_and_is_echoed(
    seen: dict[int, Seen], number: int
) -> None:
    _, one = ROWS[number]
    field, value = field_of(one), json.loads(given(one))
    arrived, run = seen[number].arrived, seen[number].run
    assert arrived[field] == given(one).encode()
    if field not in NOT_ECHOED and value is not None:
        assert run[field] == value


def test_what_is_not_echoed_is_in_no_run_object(seen: dict[int, Seen]) -> None:
    assert not [one.run for one in seen.values() if NOT_ECHOED & one.run.keys()]
