"""`runner work --forever`: whatever comes is carried, batches that nobody knew at its start too."""

import io
import signal
from collections.abc import Callable
from threading import Event

import pytest
from behaviour.stage import Stage
from work_command import WorkCommand

from runner.core.progress import Progress


@pytest.mark.on_both
def test_a_batch_that_is_queued_later_is_carried_and_a_signal_ends_it(stage: Stage) -> None:
    with stage.runner() as runner:
        assert runner.status() == []
        worker = WorkCommand(stage.settings, ("--forever",))
        try:
            for name, many in (("one", 5), ("two", 3)):
                path = stage.manifest(stage.lines(many, name), f"{name}.jsonl")
                runner.queue([path], io.BytesIO())
                assert whole(lambda: runner.status()[-1]), worker.process.poll()
            worker.process.send_signal(signal.SIGTERM)
            assert worker.end() == 3, worker.said
        finally:
            worker.kill()
        assert [p.at_rest for p in runner.status()] == [5, 3]
    assert len(stage.runs()) == 8


def whole(ask: Callable[[], Progress]) -> bool:
    pause = Event()
    for _ in range(600):
        if ask().whole:
            return True
        pause.wait(0.05)
    return False
