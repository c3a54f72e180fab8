"""Others at the same database, and no room for it: waited for, or ended in one line."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from behaviour.stage import Stage, holding, most_in_a_window
from ways import by_this_process

from runner.app import Commands
from runner.composition import Talk
from runner.config import load
from runner.core.errors import Stopped
from runner.core.view import View


@pytest.mark.on_sqlite
def test_a_lock_of_another_program_stops_creates_and_not_the_loop_nor_the_limit(
    stage: Stage,
) -> None:
    begin = threading.Event()
    creates: list[int] = []
    views: list[int] = []

    def see(_runner: Commands, view: View) -> None:
        if view.progress.at_rest >= 3:
            begin.set()

    def lived_on() -> bool:
        creates.append(stage.seen("create_requests"))
        views.append(len(stage.views))
        return len(views) > 20 and views[-1] > views[0] + 10

    holder = holding(stage, begin, lived_on)
    carried = stage.run(stage.lines(50), see, rpm=1200.0, window=1.0)
    holder.join()
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(50)
    assert views[-1] > views[0] + 10
    # What was durable before the lock may still be sent; then no intent is, so nothing is.
    assert creates[10] == creates[-1] < 50
    assert not any("database is locked" in line for line in stage.warnings)
    # Permits in hand when the lock came are used late; the slots missed since are never caught up,
    # else another twenty would come at once.
    assert most_in_a_window([at for at, _ in stage.arrivals()], 1.0) <= 20 * 1.6


@pytest.mark.on_both
def test_reading_queueing_and_exporting_beside_the_work_meet_no_lock(stage: Stage) -> None:
    over = threading.Event()
    troubles: list[BaseException] = []
    turns = {"read": 0, "queued": 0}

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - any of them is told by the test
                troubles.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def read() -> None:
        while not over.is_set():
            with stage.runner() as runner:
                if any(p.batch == "m" for p in runner.status()):
                    runner.export("m", str(stage.folder / "beside.jsonl"))
                    turns["read"] += 1

    def queue() -> None:
        path = stage.manifest(stage.lines(5000, "more"), "more.jsonl")
        with stage.runner() as runner:
            turns["queued"] = runner.queue([path], io.BytesIO()).new

    # The database is there before the others come: who makes it has it alone for a moment.
    with stage.runner() as runner:
        runner.queue([stage.manifest(stage.lines(150))], io.BytesIO())
    beside = [guarded(read), guarded(queue)]
    try:
        carried = stage.run()
    finally:
        beside[1].join()
        over.set()
        beside[0].join()
    assert troubles == []
    assert carried.exit_code == 0, stage.warnings
    assert turns["read"] > 0
    assert turns["queued"] == 5000
    assert not any("locked" in line for line in stage.warnings)
    stage.check_once_each(150)


@by_this_process
@pytest.mark.on_sqlite
def test_a_full_disk_ends_with_3_and_no_answered_create_is_lost(stage: Stage) -> None:
    lines = stage.lines(240)
    for line in lines:
        line["instructions"] = "word " * 200
    full: list[int] = []

    def see(runner: Commands, view: View) -> None:
        if view.progress.at_rest >= 10 and not full:
            pages = runner.store._read(
                lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one()
            )
            full.append(int(pages))
            # SQLite's own bound stands for the disk's: the same error at the same places.
            runner.store.ask(
                lambda: runner.store._write(
                    lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {full[0] + 4}").all()
                ),
                lambda _end: None,
            )

    # Met while jobs are claimed it is how the work ended, met anywhere else it is raised.
    try:
        carried = stage.run(lines, see, concurrency=4)
        code, said = carried.exit_code, carried.ending.stopped
    except Stopped as stopped:
        code, said = stopped.exit_code, str(stopped)
    assert full
    assert code == 3
    assert "disk full; free some space" in said
    assert "\n" not in said
    made = len(stage.runs())
    again = stage.run()
    assert again.exit_code == 0, stage.warnings
    assert 10 <= made < 240
    stage.check_once_each(240)


@pytest.mark.on_sqlite
def test_a_full_disk_is_what_a_command_of_several_processes_says(stage: Stage) -> None:
    lines = stage.lines(240)
    with stage.runner() as runner:
        runner.queue([stage.manifest(lines)], io.BytesIO())
        pages = runner.store.reading(
            lambda c: int(c.exec_driver_sql("PRAGMA page_count").scalar_one())
        )
    folder = Path(__file__).parent / "on_a_full_disk"
    environ = {"PYTHONPATH": str(folder), "TEST_MOST_PAGES": str(pages + 8)}
    settings = load({**stage.settings, "processes": 3, "concurrency": 6}, environ=environ)
    with Commands(settings, talk=Talk(warn=stage.warnings.append)) as runner:
        carried = runner.work(())
    assert carried.exit_code == 3
    assert "disk full; free some space" in carried.ending.stopped
    assert stage.run().exit_code == 0, stage.warnings
    stage.check_once_each(240)
