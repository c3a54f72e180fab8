"""The proof from the server's own lists: clean, double, foreign, unknown, gone, unproven."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulator_process import SimulatorProcess
from work_command import WorkCommand

from runner.app import Commands
from runner.composition import Talk
from runner.config import Value, load
from runner.core.audit import Audited, Trouble


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.05") as simulator:
        yield simulator


class Stage:
    """A database and a manifest of a few jobs against the server."""

    def __init__(self, server: SimulatorProcess, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.said: list[str] = []

    def open(self, **more: Value) -> Commands:
        flags: dict[str, Value] = {
            "db": str(self.folder / "r.db"),
            "base_url": self.server.url,
            "doubt_wait": 0.8,
            "timeout": 5.0,
            **more,
        }
        return Commands(load(flags, environ={}), talk=Talk(warn=self.said.append))

    def run(self, lines: list[dict[str, object]], **more: Value) -> int:
        path = self.folder / "m.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with self.open(**more) as runner:
            return runner.run([str(path)], io.BytesIO(), out=None).exit_code

    def audit(self, *, adopt: bool = False, cancel_doubles: bool = False) -> Audited:
        with self.open() as runner:
            return runner.audit(None, adopt=adopt, cancel_doubles=cancel_doubles)


@pytest.fixture
def stage(server: SimulatorProcess, tmp_path: Path) -> Stage:
    return Stage(server, tmp_path)


def jobs(name: str, count: int, **metadata: str) -> list[dict[str, object]]:
    return [
        {
            "custom_id": f"{name}-{i}",
            "thread_id": f"thread_{name}_{i}",
            "assistant_id": "asst_1",
            "metadata": {"case": f"{name}-{i}", **metadata},
        }
        for i in range(count)
    ]


def kinds(audited: Audited) -> list[Trouble]:
    return sorted(finding.kind for finding in audited.findings)


def test_each_job_its_run_and_no_more_is_clean(stage: Stage) -> None:
    assert stage.run(jobs("clean", 4)) == 0
    audited = stage.audit()
    assert audited.clean
    assert (audited.jobs, audited.threads, audited.runs) == (4, 4, 4)


def test_a_proxy_that_repeats_a_create_is_found_and_the_younger_run_named(stage: Stage) -> None:
    stage.server.set(no_lock=True)
    try:
        assert stage.run(jobs("twice", 2, fault="repeat", fate="slow:1")) == 0
    finally:
        stage.server.set(no_lock=False)
    audited = stage.audit()
    assert kinds(audited) == [Trouble.DOUBLE, Trouble.DOUBLE]
    assert all(len(finding.runs) == 2 for finding in audited.findings)
    assert not audited.clean


def test_a_strangers_run_on_a_thread_made_for_one_job_is_foreign(stage: Stage) -> None:
    line: dict[str, object] = {"custom_id": "own", "assistant_id": "asst_1"}
    assert stage.run([line]) == 0
    with stage.open() as runner:
        thread_id = runner.show("own")[0].job.thread_id
    stage.server.post(f"/v1/threads/{thread_id}/runs", {"assistant_id": "asst_2"})
    assert kinds(stage.audit()) == [Trouble.FOREIGN]


def test_a_run_that_no_row_knows_is_unknown_and_can_be_adopted(stage: Stage) -> None:
    assert stage.run(jobs("doubt", 1, fault="late"), on_doubt="hold", doubt_wait=0.0) == 1
    audited = stage.audit()
    while not audited.findings:
        audited = stage.audit()
    assert kinds(audited) == [Trouble.UNKNOWN]
    stage.audit(adopt=True)
    with stage.open() as runner:
        assert runner.work(()).exit_code == 0
    assert stage.audit().clean


def test_what_workers_write_down_during_an_audit_is_no_finding(stage: Stage) -> None:
    path = stage.folder / "m.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in jobs("beside", 600)))
    flags: dict[str, Value] = {"db": str(stage.folder / "r.db"), "base_url": stage.server.url}
    with Commands(load(flags, environ={})) as runner:
        runner.queue([str(path)], io.BytesIO())
    worker = WorkCommand({**flags, "concurrency": 8})
    try:
        seen: list[Audited] = []
        while not seen or seen[-1].not_at_rest:
            seen.append(stage.audit())
        assert worker.end() == 0, worker.said
    finally:
        worker.kill()
    assert len([audited for audited in seen if audited.runs < 600]) > 1
    assert [audited.lines() for audited in seen if not audited.clean] == []


def test_without_a_tag_a_run_on_a_shared_thread_that_no_row_knows_proves_nothing(
    stage: Stage,
) -> None:
    assert stage.run(jobs("tagless", 2), tag="") == 0
    assert stage.audit().clean
    stage.server.post("/v1/threads/thread_tagless_0/runs", {"assistant_id": "asst_2"})
    audited = stage.audit()
    assert (audited.unproven, audited.findings) == (1, [])
    assert not audited.clean
    assert "each job its run" not in audited.lines()[0]


def test_what_cannot_be_asked_is_unproven_and_not_good(stage: Stage) -> None:
    assert stage.run(jobs("mute", 2)) == 0
    stage.server.set(no_list=True)
    try:
        audited = stage.audit()
    finally:
        stage.server.set(no_list=False)
    assert audited.unproven == 2
    assert not audited.clean
