"""A large manifest is read by a process of its own: the same jobs, and none lost with it."""

import io
import os
import signal
import subprocess

import pytest
from behaviour.stage import Stage

from runner.core.errors import RunnerError
from runner.work import queueing, reading
from runner.work.reading import CHUNK


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the processes that read, by id, as they come; every file counts as a large one."""
    pids: list[int] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **options: object) -> None:
            super().__init__(command, **options)  # type: ignore[call-overload]
            pids.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(reading, "LARGE", 0)
    monkeypatch.setattr(queueing, "cores", lambda: 2)
    return pids


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_run_of_a_large_manifest_is_the_same_run(stage: Stage, readers: list[int]) -> None:
    carried = stage.run([*stage.lines(20), {"custom_id": "bad"}])
    assert carried.queued is not None
    assert (carried.queued.new, carried.queued.bad) == (20, 1)
    assert carried.exit_code == 1
    stage.check_once_each(20)
    assert len(readers) == 1
    assert gone(readers[0])


def test_a_reader_that_is_killed_breaks_off_and_the_same_command_goes_on(
    stage: Stage, readers: list[int]
) -> None:
    many = 30 * CHUNK
    path = stage.manifest(stage.lines(many))

    def kill(_lines: int) -> None:
        os.kill(readers[0], signal.SIGKILL)

    with stage.runner() as runner:
        telling = queueing.Telling(stage.warnings.append, queued=kill)
        with pytest.raises(RunnerError, match=r"the process that reads it ended; [\d,]+ lines"):
            runner.queue([path], io.BytesIO(), telling=telling)
    with stage.runner() as runner:
        queued = runner.queue([path], io.BytesIO())
        assert queued.new + queued.known == many
        assert queued.known >= CHUNK
        assert runner.store.progress(runner.store.batches()[0].id).jobs == many
    assert len(readers) == 2
    assert all(map(gone, readers))


def test_ctrl_c_ends_the_reader_too(stage: Stage, readers: list[int]) -> None:
    path = stage.manifest(stage.lines(5 * CHUNK))
    stops = iter([False, True])
    with stage.runner() as runner:
        telling = queueing.Telling(stage.warnings.append, stop=lambda: next(stops, True))
        with pytest.raises(queueing.Interrupted, match="the same command goes on"):
            runner.queue([path], io.BytesIO(), telling=telling)
    assert len(readers) == 1
    assert gone(readers[0])
