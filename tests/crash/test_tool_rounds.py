"""Two rounds of tool outputs each, by streams that drop, under kills: every output sent once."""

import contextlib
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_run import Line, Scene
from simulator_process import SimulatorProcess

JOBS = int(os.environ.get("RUNNER_TEST_TOOL_JOBS", "60"))  # noqa: TID251 - a test's own switch
"""A few in every run of the tests; 300 behind the variable."""
KILLS = max(2, JOBS // 30)
ROUNDS = 2


def lines() -> Iterator[Line]:
    """Make jobs that ask twice, every third for two outputs at once, every fifth on a shared thread."""
    for number in range(JOBS):
        calls = 2 if number % 3 == 0 else 1
        fate = f"requires_action:{ROUNDS}:{calls}"
        line: Line = {
            "custom_id": f"job-{number}",
            "assistant_id": "asst_1",
            "metadata": {"case": f"case-{number}", "fate": fate},
            "tool_outputs": {"lookup": f"answer {number}"},
        }
        yield line if number % 5 else {**line, "thread_id": f"thread_{number % 4}"}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    flags = ("--duration", "uniform:0.05:0.3", "--seed", "3", "--stream-drop", "0.1")
    with SimulatorProcess(*flags) as server:
        scene = Scene(tmp_path, server, 0)
        (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines()))
        scene.settings |= {"stream": True, "deadline": 600.0, "concurrency": 12}
        yield scene


def killed_at_random(scene: Scene, rng: random.Random) -> None:
    """Start, wait until more outputs were taken, and a little longer, and kill."""
    before = scene.server.audit().count("tool_outputs_taken")
    child = scene.start()
    try:
        while child.poll() is None:
            if scene.server.audit().count("tool_outputs_taken") > before:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(rng.random() * 0.5)
    finally:
        child.kill()
        child.communicate()


@pytest.mark.timeout(max(180, JOBS))
def test_every_job_has_one_run_and_all_its_outputs_are_taken_once(scene: Scene) -> None:
    rng = random.Random(4)
    for _ in range(KILLS):
        killed_at_random(scene, rng)
    taken = scene.server.audit().count("tool_outputs_taken")
    assert 0 < taken < JOBS * ROUNDS, "the kills came too late to show anything"
    code, said = scene.run(timeout=150)
    assert code == 0, said
    rows = scene.rows()
    assert [row["custom_id"] for row in rows] == [f"job-{number}" for number in range(JOBS)]
    assert {row["status"] for row in rows} == {"completed"}
    audit = scene.server.audit()
    assert audit.repeated("tag") == audit.repeated("case") == {}
    runs = scene.server.runs()
    assert len(runs) == JOBS
    assert {row["run_id"] for row in rows} == set(runs)
    # The server takes a round's outputs only whole, and refuses what comes after them.
    assert audit.count("tool_outputs_taken") == JOBS * ROUNDS
