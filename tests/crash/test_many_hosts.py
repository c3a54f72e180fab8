"""`runner work` on a shared database: a worker that is stopped past its lease is ended by its timer.

And one that only loses the database is not: it lives on with the answers that it has.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Event

import pytest
from crash_run import Scene
from forked import PIPE, Forked
from postgres_server import PostgresServer
from simulator_process import SimulatorProcess
from until import until
from work_command import WorkCommand, state_of

from runner.app import Commands
from runner.carrying import SILENT_S
from runner.config import load
from runner.store.patience import WARN_AFTER_S

LIMIT_S = 60.0
LEASE_S = 2.0
DEAD_MAN = """
import sys, time
from runner.composition import boottime
from runner.work.dead_man import dead_man
timer = dead_man(boottime)
timer.wind(boottime() + 60)
timer.wind(boottime() + 0.4)
if sys.argv[1] == "stops":
    timer.stop()
print("wound", flush=True)
time.sleep(0.8)
"""


@pytest.fixture
def scene(tmp_path: Path, postgres_server: PostgresServer, template: str) -> Iterator[Scene]:
    with SimulatorProcess("--duration", "uniform:0.1:0.5") as server:
        url = postgres_server.fresh(template)
        scene = Scene(tmp_path, server, 18, url)
        # One worker a command, unless a test says otherwise: it is the one that is stopped.
        scene.settings |= {"lease": LEASE_S, "processes": 1}
        with runner_of(scene) as runner:
            runner.queue([str(tmp_path / "m.jsonl")], BytesIO())
        yield scene


def runner_of(scene: Scene) -> Commands:
    return Commands(load(scene.flags, environ={}))


def check(scene: Scene) -> None:
    with runner_of(scene) as runner:
        runner.export(None, str(scene.folder / "o.jsonl"))
    scene.check()


@pytest.mark.parametrize(("does", "code"), [("waits", -signal.SIGKILL), ("stops", 0)])
def test_the_timer_ends_a_process_that_is_stopped_unless_it_was_put_off(
    does: str, code: int
) -> None:
    child = Forked("", does, source=DEAD_MAN, stdout=PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "wound\n"
        if code:
            # Stopped it dies all the same: it is never seen to go on.
            child.send_signal(signal.SIGSTOP)
        assert child.wait(LIMIT_S) == code


def test_a_worker_frozen_past_its_lease_is_ended_and_replaced_while_another_host_goes_on(
    scene: Scene,
) -> None:
    frozen = WorkCommand(scene.flags)
    other: WorkCommand | None = None
    try:
        until(lambda: scene.server.audit().count("create_requests") >= 5, LIMIT_S)
        (pid,) = frozen.workers
        os.kill(pid, signal.SIGSTOP)
        other = WorkCommand(scene.flags)
        # It is never told to go on: the kernel ends it while it is stopped.
        until(lambda: state_of(pid) in ("", "Z"), LIMIT_S)
        assert (frozen.end(), other.end()) == (1, 1), frozen.said + other.said
    finally:
        for command in (frozen, other):
            if command is not None:
                command.kill()
    assert f"worker process {pid} died by signal 9" in frozen.said
    assert "another takes its place" in frozen.said
    check(scene)


@pytest.mark.parametrize("frozen", [False, True])
def test_workers_that_lose_the_database_for_longer_than_their_lease_live_on_and_tell_it_once(
    scene: Scene, postgres_server: PostgresServer, frozen: bool
) -> None:
    workers = [WorkCommand(scene.flags) for _ in range(2)]
    try:
        until(lambda: scene.server.audit().count("create_requests") >= 5, LIMIT_S)
        until(lambda: all(len(worker.workers) == 1 for worker in workers), LIMIT_S)
        pids = [worker.workers for worker in workers]
        if frozen:
            postgres_server.freeze()
        else:
            postgres_server.stop()
        creates = 0
        try:
            Event().wait(LEASE_S + 0.5)
            creates = scene.server.audit().count("create_requests")
            # By then each thread of each process that asks the database has met it.
            Event().wait(2 * WARN_AFTER_S + (SILENT_S if frozen else 0))
        finally:
            if frozen:
                postgres_server.thaw()
            else:
                postgres_server.start()
        assert scene.server.audit().count("create_requests") == creates, "sent without a lease"
        assert [worker.workers for worker in workers] == pids
        assert [worker.end() for worker in workers] == [1, 1]
    finally:
        for worker in workers:
            worker.kill()
    for worker in workers:
        told = [line for line in worker.said.splitlines() if "does not answer; waiting" in line]
        assert len(told) == 1, worker.said
        # Neither takes the other's silence for its end, since neither could have spoken.
        for false in ("died by signal", "is stopped", "was taken over"):
            assert false not in worker.said
    check(scene)


def test_workers_end_when_the_command_that_started_them_is_killed(scene: Scene) -> None:
    command = WorkCommand(scene.flags, ("--forever", "--processes", "2"))
    workers: list[int] = []
    try:
        until(lambda: len(command.workers) == 2, LIMIT_S)
        workers = command.workers
        os.kill(command.process.pid, signal.SIGKILL)
        until(lambda: all(state_of(pid) in ("", "Z") for pid in workers), LIMIT_S)
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        command.kill()
