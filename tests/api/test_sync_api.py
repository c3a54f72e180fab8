"""`from runner.sync import Runner`: the same without a loop, against a server in its own process."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Unpack

import pytest
from forked import PIPE, Forked
from simulator_process import SimulatorProcess

from runner import BadJobs, Outcome, UsageError
from runner.keywords import Keywords
from runner.sync import Runner

Job = dict[str, object]


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.05") as server:
        yield server


@pytest.fixture
def opened(server: SimulatorProcess, tmp_path: Path) -> Callable[..., Runner]:
    def opened(**settings: Unpack[Keywords]) -> Runner:
        given: Keywords = {"db": tmp_path / "r.db", "base_url": server.url, "doubt_wait": 1.0}
        given.update(settings)
        return Runner(**given)

    return opened


def jobs(many: int) -> Iterator[Job]:
    for number in range(many):
        yield {"custom_id": f"j{number}", "assistant_id": "asst_1"}


def test_outcomes_come_one_by_one_and_leaving_the_loop_is_resumed(
    opened: Callable[..., Runner], server: SimulatorProcess
) -> None:
    before = server.audit().number("runs")
    with opened() as runner:
        for outcome in runner.run(jobs(12), batch="b"):
            assert outcome.succeeded
            break
        told = [outcome.custom_id for outcome in runner.run(jobs(12), batch="b")]
        assert sorted(told) == sorted(f"j{i}" for i in range(12))
        assert [o.custom_id for o in runner.outcomes()] == [f"j{i}" for i in range(12)]
        assert runner.progress("b").whole
    assert server.audit().number("runs") - before == 12


def test_the_iterable_is_read_in_the_callers_own_thread(opened: Callable[..., Runner]) -> None:
    threads = set()

    def source() -> Iterator[Job]:
        for job in jobs(2):
            threads.add(threading.get_ident())
            yield job

    with opened() as runner:
        assert runner.queue(source(), batch="b").new == 2
        assert len(list(runner.run(source(), batch="b"))) == 2
    assert threads == {threading.get_ident()}


def test_bad_jobs_are_raised_after_the_good_ones_have_run(opened: Callable[..., Runner]) -> None:
    told: list[Outcome] = []
    with opened() as runner:
        with pytest.raises(BadJobs) as raised:
            told += runner.run([*jobs(2), {"custom_id": "bad"}], batch="b")
        assert [(bad.index, bad.custom_id) for bad in raised.value.jobs] == [(2, "bad")]
        with pytest.raises(BadJobs):
            runner.queue([{"custom_id": "bad"}], batch="b")
    assert sorted(o.custom_id for o in told) == ["j0", "j1"]


def test_a_person_s_commands_are_there(opened: Callable[..., Runner], tmp_path: Path) -> None:
    failing = {"custom_id": "a", "assistant_id": "x", "metadata": {"case": "s", "fate": "failed:1"}}
    with opened() as runner:
        assert [str(o.state) for o in runner.run([failing], batch="b")] == ["failed"]
        assert runner.retry("b").jobs == 1
        assert [o.generation for o in runner.run()] == [2]
        runner.queue(jobs(1), batch="b")
        assert runner.cancel("b").ended == 1
        assert runner.export(tmp_path / "o.csv", form="csv") == 2
    assert (tmp_path / "o.csv").read_text().count("\n") >= 3


def test_a_runner_that_is_not_open_says_so(opened: Callable[..., Runner]) -> None:
    with pytest.raises(UsageError, match="Runner: is not open; use `with`"):
        opened().queue([], batch="b")


def test_a_loop_that_outlives_its_runner_ends(opened: Callable[..., Runner]) -> None:
    with opened(concurrency=1) as runner:
        outcomes = runner.run(jobs(20), batch="b")
        next(outcomes)
    outcomes.close()


INTERRUPTED = """
import sys
from runner.sync import Runner
db, url = sys.argv[1:]
jobs = [{"custom_id": f"j{i}", "assistant_id": "asst_1"} for i in range(60)]
try:
    with Runner(db=db, base_url=url, concurrency=2) as runner:
        for outcome in runner.run(jobs, batch="b"):
            print(outcome.custom_id, flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_the_programs_and_loses_nothing(
    opened: Callable[..., Runner], server: SimulatorProcess, tmp_path: Path
) -> None:
    before = server.audit().number("runs")
    words = (tmp_path / "r.db", server.url)
    with Forked("", *words, source=INTERRUPTED, stdout=PIPE, stderr=PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("j")
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert out.endswith("interrupted\n"), out + err
    assert err == ""
    assert program.returncode == 0
    with opened() as runner:
        assert len(list(runner.run(batch="b"))) == 60
    assert server.audit().number("runs") - before == 60
