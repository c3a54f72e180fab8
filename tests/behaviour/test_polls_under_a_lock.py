"""Others at the same database, and no room for it: waited for, or ended in one line."""

import threading

import pytest
from behaviour.stage import Stage, holding, most_in_a_window

from runner.app import Commands
from runner.core.view import View


@pytest.mark.on_sqlite
def test_a_lock_of_another_program_stops_creates_and_neither_polls_nor_the_limit(
    stage: Stage,
) -> None:
    begin = threading.Event()
    counts: list[tuple[int, int]] = []

    def see(_runner: Commands, view: View) -> None:
        if view.progress.at_rest >= 3:
            begin.set()

    def polled_on() -> bool:
        counts.append((stage.seen("reads"), stage.seen("create_requests")))
        # What was durable before the lock may still be sent; after that only reads come.
        return len(counts) > 20 and counts[-1][0] > counts[10][0]

    holder = holding(stage, begin, polled_on)
    lines = [*stage.lines(6, "slow", fate="slow:3"), *stage.lines(40)]
    carried = stage.run(lines, see, rpm=1200.0, window=1.0, lease=30.0)
    holder.join()
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(46)
    reads, creates = zip(*counts, strict=True)
    assert reads[-1] > reads[10]
    assert creates[-1] == creates[10] < 46
    assert not any("database is locked" in line for line in stage.warnings)
    times = [at for at, _ in stage.arrivals()]
    assert most_in_a_window(times, 1.0) <= 20 * 1.25
