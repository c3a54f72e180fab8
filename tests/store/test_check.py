"""`db check` finds what was planted, and finds nothing in a database that was only used."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text
from store_book import begin, line, queue, working
from store_ends import create, fail, succeed

from runner.core.moves import held
from runner.store.store import Store


def used(store: Store) -> None:
    at = working(store, [line(n, thread="t" if n > 3 else None) for n in range(1, 7)])
    succeed(store, at.jobs[0])
    fail(store, at.jobs[1])
    create(store, at.jobs[2])
    assert held(at.jobs[2]).job_id == 3


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("DELETE FROM body WHERE job_id = 1", "jobs without a body: q-0001"),
        (
            "INSERT INTO body SELECT 99, body, extra FROM body WHERE job_id = 1",
            "bodies without a job: 99",
        ),
        ("DELETE FROM outcome WHERE job_id = 1", "jobs at rest without an outcome: q-0001"),
        ("UPDATE outcome SET status = 'x' WHERE job_id = 1", "status is not their outcome's"),
        ("UPDATE job SET generation = 0 WHERE id = 1", "jobs at rest without an outcome: q-0001"),
        ("UPDATE job SET worker = 'w' WHERE id = 1", "that somebody holds"),
        ("UPDATE job SET state = 7 WHERE id = 6", "jobs of no known state: q-0006"),
        ("UPDATE job SET run_id = NULL WHERE id = 3", "running jobs without a run: q-0003"),
        ("UPDATE job SET worker = 'gone' WHERE id = 3", "a worker that is not there: q-0003 gone"),
        ("UPDATE job SET blocked = 1 WHERE id = 4", "a turn that nobody has"),
        ("UPDATE job SET blocked = 0 WHERE id = 5", "in which two jobs may be sent: t 2"),
        ("UPDATE tally SET jobs = jobs + 1 WHERE state = 3", "counts that are not the jobs'"),
        ("DELETE FROM tally WHERE state = 0", "counts that are not the jobs': 1 0"),
        ("UPDATE cause SET jobs = 5", "causes that are not the jobs': 1 failed"),
        ("UPDATE spent SET total = total - 1", "tokens that are not the outcomes': 1"),
    ],
)
def test_planted_damage_is_found(store: Store, damage: str, finding: str) -> None:
    used(store)
    assert store.check() == []
    store.writing(lambda connection: connection.execute(text(damage)).rowcount)
    assert any(finding in found for found in store.check()), store.check()


def test_a_file_with_a_torn_page_is_told_and_not_raised(ready_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(ready_file, tmp_path / "torn.db"))
    store = Store.open(str(path))
    queue(store, begin(store), [line(n, content="x" * 500) for n in range(1, 400)])
    store.close()
    raw = bytearray(path.read_bytes())
    for page in range(len(raw) // 4096 // 2, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(bytes(raw))
    store = Store.open(str(path))
    found = store.check()
    store.close()
    assert found


def test_vacuum_gives_room_back_and_loses_nothing(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(n, content="x" * 3000) for n in range(1, 500)])
    store.writing(lambda c: c.execute(text("DELETE FROM body WHERE job_id > 10")).rowcount)
    before, after = store.vacuum()
    assert after < before or store.engine_name == "postgresql"
    assert store.progress(batch.id).jobs == 499
