"""One thread holds one active run: ours in turn, another's waited for."""

import pytest
from behaviour.stage import Stage, parts_of
from ways import PROCESSES

from runner.app import Commands
from runner.core.view import View


@pytest.mark.on_both
def test_jobs_of_one_thread_go_one_at_a_time_and_the_others_do_not_wait(stage: Stage) -> None:
    shared = [stage.line(f"shared-{i}", thread="x", fate="slow:0.5") for i in range(4)]
    others = stage.lines(12, "other")
    carried = stage.run([*shared, *others])
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(16)
    assert stage.seen("locked") == 0
    order = [
        str(parts_of(run["metadata"])["case"]).partition("-")[2] for run in stage.runs().values()
    ]
    assert [name for name in order if name.startswith("shared")] == [
        f"shared-{i}" for i in range(4)
    ]
    assert order.index("shared-2") == 14


def test_another_clients_run_is_waited_for_named_and_costs_no_try(stage: Stage) -> None:
    foreign = stage.server.post(
        f"/v1/threads/{stage.thread('x')}/runs",
        {
            "assistant_id": "asst_other",
            "metadata": {"fate": "slow:15" if PROCESSES > 1 else "slow:1.5"},
        },
    )
    blocking: set[tuple[str, str]] = set()

    def see(runner: Commands, _view: View) -> None:
        blocking.update(runner.status()[0].blocked_by)

    carried = stage.run([stage.line("late", thread="x"), *stage.lines(3)], see, max_attempts=1)
    assert carried.exit_code == 0, stage.warnings
    assert set(stage.ends().values()) == {"succeeded completed"}
    assert {run_id for _, run_id in blocking} | {name for name, _ in blocking} >= {foreign["id"]}
    assert len(stage.runs()) == 5
