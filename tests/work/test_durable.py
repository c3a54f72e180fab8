"""What the writer's thread calls back is called on the loop as if the loop had called it."""

from pathlib import Path

import anyio
import pytest
from store_book import line, working

from runner.core.moves import Evidence, Intend, Note, held
from runner.store.store import Store
from runner.work.durable import Durable


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "r.db"))


@pytest.mark.anyio
async def test_a_callback_may_start_a_task_and_its_fault_leaves_no_other_unheard(
    store: Store,
) -> None:
    work = working(store, [line(1), line(2), line(3)])
    durable = Durable(store)
    heard: list[str] = []
    over = anyio.Event()

    async def started() -> None:
        heard.append("started")
        over.set()

    def fail(_won: bool) -> None:
        raise ZeroDivisionError

    def start(_won: bool) -> None:
        group.start_soon(started)

    faults: list[object] = []
    durable._loop.set_exception_handler(lambda _loop, told: faults.append(told.get("exception")))
    async with anyio.create_task_group() as group:
        durable.post(Note(work.jobs[0].id, 1, 1, Evidence("noted", run_id="run_1")), fail)
        durable.post(Intend(held(work.jobs[1])), lambda won: heard.append(f"won {won}"))
        durable.post(Intend(held(work.jobs[2])), start)
        with anyio.fail_after(20):
            await over.wait()
    assert heard == ["won True", "started"]
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
    durable.close()
    store.close()
