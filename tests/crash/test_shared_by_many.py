"""Many workers on one PostgreSQL: some are killed, the server restarts, and each job has one run.

RUNNER_TEST_MANY=20x20000 makes it 20 worker processes and 20,000 jobs, and asserts how much of the
budget was used (figures in the README).
"""

import json
import os
import random
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Event

import pytest
from behaviour.stage import most_in_a_window
from crash_run import Scene
from postgres_server import PostgresServer
from simulator_process import SimulatorProcess
from work_command import WorkCommand

from runner.app import Commands
from runner.config import load

GIVEN = os.environ.get("RUNNER_TEST_MANY", "")  # noqa: TID251 - a test's own switch
WORKERS, JOBS = map(int, (GIVEN or "4x200").split("x"))
HOSTS = 2 if WORKERS < 10 else 4
A_SECOND = 40 if WORKERS < 10 else 50
"""Creates a second in all."""
WINDOW_S = 2.0 if WORKERS < 10 else 10.0
LATE_S = 1.5
"""So much later than its permit a create may arrive: it may be sent a second late, and then travels."""
KILLS = max(3, JOBS // 1000)
RECOVERY_S = 5.0
"""So long after its start the server is not counted as up: its clients come back at growing pauses."""


@pytest.fixture
def scene(tmp_path: Path, postgres_server: PostgresServer, template: str) -> Iterator[Scene]:
    with SimulatorProcess("--duration", "uniform:0.1:0.5", "--seed", "3") as server:
        url = postgres_server.fresh(template)
        scene = Scene(tmp_path, server, 0, url)
        scene.settings |= {"deadline": 600.0, "rpm": 60.0 * A_SECOND, "window": WINDOW_S}
        scene.settings |= {"lease": 30.0, "timeout": 30.0}
        with (tmp_path / "m.jsonl").open("w") as manifest:
            for i in range(JOBS):
                metadata = {"case": f"case-{i}"}
                if i % 50 == 7:
                    metadata["fault"] = "drop_after"
                line = {"custom_id": f"job-{i}", "assistant_id": "asst_1", "metadata": metadata}
                manifest.write(json.dumps({**line, "thread_id": f"thread_{i}"}) + "\n")
        yield scene


def runner_of(scene: Scene) -> Commands:
    return Commands(load(scene.flags, environ={}))


def made(scene: Scene) -> int:
    return scene.server.audit().count("create_requests")


@pytest.mark.timeout(180 if not GIVEN else 3600)
def test_kills_and_a_restart_of_the_server_lose_nothing_and_repeat_nothing(
    scene: Scene, postgres_server: PostgresServer
) -> None:
    with runner_of(scene) as runner:
        runner.queue([str(scene.folder / "m.jsonl")], BytesIO())
    rng = random.Random(5)
    words = ("--processes", str(WORKERS // HOSTS), "--concurrency", "100")
    # Many clients on few cores must not starve the servers that all of them ask.
    hosts = [WorkCommand(scene.flags, words) for _ in range(HOSTS)]
    for host in hosts:
        os.setpriority(os.PRIO_PROCESS, host.process.pid, 19)
    # What is done when so many creates have arrived, the restart in the middle.
    steps = [(JOBS * (n + 1) // (KILLS + 2), "kill") for n in range(KILLS)]
    steps.append((JOBS // 2, "restart"))
    down = (0.0, 0.0)
    pause = Event()
    try:
        for at, what in sorted(steps):
            while made(scene) < at and all(host.process.poll() is None for host in hosts):
                pause.wait(0.1 if not GIVEN else 2.0)
            if what == "restart":
                began = moment(scene)
                postgres_server.stop()
                postgres_server.start()
                down = (began, moment(scene) + RECOVERY_S)
            elif workers := [pid for host in hosts for pid in host.workers]:
                os.kill(rng.choice(workers), signal.SIGKILL)
        codes = [host.end(3000 if GIVEN else 150) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    said = "".join(host.said for host in hosts)
    assert codes == [0] * HOSTS, said
    assert "died by signal 9" in said
    check(scene)
    used(scene, down)


def moment(scene: Scene) -> float:
    """Return the server's time of the newest create."""
    return arrivals(scene)[-1]


def arrivals(scene: Scene) -> list[float]:
    found = scene.server.get("/_arrivals")["creates"]
    assert isinstance(found, list)
    return [float(at) for at, _ in found]


def check(scene: Scene) -> None:
    """Each job has its one run by the server's own count, and its row."""
    with runner_of(scene) as runner:
        runner.export(None, str(scene.folder / "o.jsonl"))
        assert runner.store.check() == []
    rows = scene.rows()
    assert [row["custom_id"] for row in rows] == [f"job-{i}" for i in range(JOBS)]
    assert {row["status"] for row in rows} == {"completed"}
    audit = scene.server.audit()
    assert (audit.repeated("tag"), audit.repeated("case")) == ({}, {})
    runs = scene.server.runs()
    assert len(runs) == JOBS
    assert {row["run_id"] for row in rows} == set(runs)


def used(scene: Scene, down: tuple[float, float]) -> None:
    """No window holds more than the limit, and while the database was up it was used."""
    times = arrivals(scene)
    most = most_in_a_window(times, WINDOW_S)
    first, last = times[0] + RECOVERY_S, times[int(len(times) * 0.99)]
    up_s = last - first - (down[1] - down[0])
    sent = sum(1 for at in times if first <= at <= last and not down[0] <= at <= down[1])
    print(f"{len(times)} creates in {times[-1] - times[0]:.1f} s, at most {most} in a window")
    assert most <= A_SECOND * (WINDOW_S + LATE_S)
    if GIVEN:
        share = sent / (up_s * A_SECOND)
        print(f"{share:.3f} of the budget was used while the database was up")
        assert share >= 0.9
