"""The processes of one command, told to end at any moment of theirs."""

import os
import sys
from pathlib import Path

import anyio.lowlevel
import pytest

from runner.work.processes import LONGEST_DRAIN_S, Fleet

UNTIL_KILLED = [sys.executable, "-c", "import time; time.sleep(600)"]
LIMIT_S = LONGEST_DRAIN_S / 2
"""Who was never told to end is killed after `LONGEST_DRAIN_S`."""


def children() -> str:
    """Return the processes that this one has started and that live, as the kernel lists them."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists children by /proc")
def test_a_process_that_is_being_started_when_all_are_told_to_drain_is_told_too() -> None:
    fleet = Fleet(
        UNTIL_KILLED,
        os.environ,  # noqa: TID251 - as Popen does
        1,
        at_rest=lambda: False,
        stopped_why=str,
        warn=lambda _line: None,
        grace_s=0.0,
    )
    before = children()

    async def stop_while_it_starts() -> None:
        while children() == before:
            await anyio.lowlevel.checkpoint()
        assert fleet.pids == []
        fleet.stop("interrupted")

    async def both() -> None:
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:
                group.start_soon(stop_while_it_starts)
                ending = await fleet.run()
        assert ending.stopped == "interrupted"

    anyio.run(both)
    assert children() == before
