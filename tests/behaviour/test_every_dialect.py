"""Each dialect carries its jobs through faults to the ends that its server tells, none twice."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path

import pytest
from simulator_process import SimulatorProcess
from wires import WIRES, Line, Wire

from runner.app import Commands
from runner.config import load

JOBS = int(os.environ.get("RUNNER_TEST_JOBS_A_DIALECT", "40"))  # noqa: TID251 - a test's own switch
"""Enough to meet each fault in every run of the tests; 200 behind the variable."""

MADE = {"drop_after": 0.05, "truncate": 0.04, "error_500_after": 0.04}
NOT_MADE = {"reset_before": 0.05, "error_503": 0.04}
REFUSED = {"rate_429": 0.06}


@pytest.fixture(params=WIRES, ids=lambda wire: wire.dialect)
def wire(request: pytest.FixtureRequest) -> Wire:
    found = request.param
    assert isinstance(found, Wire)
    return found


@pytest.fixture
def server(wire: Wire) -> Iterator[SimulatorProcess]:
    flags = ("--duration", "uniform:0.02:0.2", "--seed", "5", *wire.flags)
    with SimulatorProcess(*flags) as server:
        server.set(faults={**MADE, **NOT_MADE, **REFUSED})
        yield server


def lines(wire: Wire) -> Iterator[Line]:
    """Make jobs of every end; every third has a thread, which the next of these shares."""
    for number, fate in enumerate(islice(cycle(wire.ends), JOBS)):
        thread = f"shared_{number // 6}" if number % 3 == 0 else None
        yield wire.line(f"job-{number}", {"fate": fate, "case": f"case-{number}"}, thread)


@pytest.mark.timeout(max(180, JOBS))
def test_every_job_ends_as_its_server_says_and_none_ran_twice(
    wire: Wire, server: SimulatorProcess, tmp_path: Path
) -> None:
    manifest, out = tmp_path / "m.jsonl", tmp_path / "o.jsonl"
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines(wire)))
    settings = load(
        {
            "db": str(tmp_path / "r.db"),
            "base_url": wire.url(server),
            "dialect": wire.dialect,
            "doubt_wait": 0.5,
            "timeout": 5.0,
        },
        environ={},
    )
    with Commands(settings) as commands:
        carried = commands.run([str(manifest)], BytesIO(), out=str(out))
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    audit = server.audit()
    assert carried.exit_code == 1
    assert [row["custom_id"] for row in rows] == [f"job-{number}" for number in range(JOBS)]
    met = {fault: audit.count(fault, "faults") for fault in (*MADE, *NOT_MADE, *REFUSED)}
    assert sum(met.values()) > JOBS // 10, met
    ends = {row["custom_id"]: f"{row['state']} {row['status']}" for row in rows}
    wanted = dict(zip(ends, cycle(wire.ends.values()), strict=False))
    others = Counter(end for name, end in ends.items() if end != wanted[name])
    if wire.dialect == "responses":
        # No look can settle a doubt there: each is held, and told.
        doubts = sum(met[fault] for fault in (*MADE, *NOT_MADE))
        assert others == {"failed in_doubt": doubts}
    else:
        assert others == {}
    assert audit.repeated("tag") == {}
    if wire.dialect == "request":
        # Sent again after a doubt, and counted: an answer may be paid for twice, and leaves nothing.
        again = sum(row["attempts"] - 1 for row in rows if row["possible_double"])
        assert audit.count("creates") - others["succeeded completed"] <= len(rows) + again
        return
    assert audit.repeated("case") == {}
    runs = server.bodies().keys()
    assert all(row["doubles"] == [] and not row["possible_double"] for row in rows)
    known = {row["run_id"] for row in rows if row["run_id"]}
    assert known <= runs
    if wire.settles:
        assert known == runs
