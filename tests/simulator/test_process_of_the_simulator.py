"""How the simulator ends, and what it saw by then."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from simulator_process import SimulatorProcess

from runner.simulator.server import main

LIMIT_S = 20.0
# A parent that starts a simulator by `how` and waits to be killed.
PARENT = """
import os, subprocess, sys
command = [sys.executable, "-m", "runner.simulator"]
child = subprocess.Popen(command + {flags}, stdin={stdin})
child.wait()
"""


@pytest.mark.parametrize(
    ("flags", "stdin"),
    [
        ('["--until-stdin-closes"]', "subprocess.PIPE"),
        ('["--parent-pid", str(os.getpid())]', "subprocess.DEVNULL"),
    ],
    ids=["stdin", "pid"],
)
def test_it_ends_when_the_process_that_started_it_is_killed(flags: str, stdin: str) -> None:
    script = PARENT.format(flags=flags, stdin=stdin)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert '"port"' in parent.stdout.readline()
        parent.kill()
        # The simulator inherited this pipe, so the end of the pipe is the simulator's.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(parent.stdout.read).result(LIMIT_S) == ""


def test_it_ends_on_a_signal_and_on_request_with_exit_code_0() -> None:
    with SimulatorProcess() as by_signal, SimulatorProcess() as by_request:
        by_request.post("/_stop", {})
        assert by_signal.stop() == 0
        assert by_request.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--fate", "nonsense=1"], "fate: 'nonsense' is unknown; known: "),
        (["--duration", "soon"], "'soon' is no duration; write seconds,"),
        (["--faults", '{"reset_before": 2}'], "Expected `float` <= 1.0 - at `$.faults[...]`"),
        (["--fate", "failed=0.7,expired=0.7"], "fate: the shares add up to more than 1"),
    ],
    ids=["fate", "duration", "share", "sum"],
)
def test_wrong_flags_are_told_in_one_line(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_the_audit_tells_order_and_the_most_that_was_active_at_once() -> None:
    with SimulatorProcess("--duration", 1000, "--no-lock") as simulator:
        made = [
            simulator.post(
                f"/v1/threads/{thread}/runs",
                {"assistant_id": "asst_1", "metadata": {"case": case, "runner_key": case}},
            )["id"]
            for thread, case in (("a", "1"), ("b", "2"), ("a", "3"), ("a", "1"))
        ]
        audit = simulator.audit()
        threads = simulator.get("/_threads")
        arrivals = simulator.get("/_arrivals")["creates"]
        bodies = simulator.bodies()
    assert threads["a"] == [
        {"id": made[0], "tag": "1", "case": "1"},
        {"id": made[2], "tag": "3", "case": "3"},
        {"id": made[3], "tag": "1", "case": "1"},
    ]
    assert audit.repeated("tag") == {"1": [made[0], made[3]]}
    assert audit.repeated("case") == {"1": [made[0], made[3]]}
    assert (audit.number("active_max"), audit.told["active_max_by_thread"]) == (4, {"a": 3})
    assert audit.number("active_max_in_one_thread") == 3
    assert (audit.number("window_max"), audit.count("queued", "statuses")) == (4, 4)
    assert isinstance(arrivals, list)
    assert [status for _, status in arrivals] == [200] * 4
    assert set(bodies) == set(made)
