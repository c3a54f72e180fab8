"""C68: a manifest larger than the memory that reads it, checked, queued, broken off and exported.

RUNNER_TEST_LINES=500000 makes it half a million lines of 2 kB.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from cli.shell import COMMAND, LIMIT_S, Shell, interrupt

from runner.store.store import Store

MANY = int(os.environ.get("RUNNER_TEST_LINES", "15000"))  # noqa: TID251 - a test's own switch
FEW = 500
PADDING = "x" * 1900
LAUNCH = Path(__file__).parents[2] / "benchmarks" / "launch.py"
MORE_MIB = 16.0
"""Half of what the lines weigh."""
QUEUE_MIB = 135.0
"""118 were seen, of 15,000 lines and of 60,000; with all of the 15,000 held it was 147."""

TO_REST = """
    UPDATE job SET state = 3, status = 'completed', run_id = 'run_' || id, ended_ms = id;
    INSERT INTO outcome (job_id, generation, status, run_id, run, http_status, request_id,
        attempts, created_ms, ended_ms)
    SELECT id, 1, 'completed', 'run_' || id,
        CAST('{"id":"run_' || id || '","status":"completed","padding":"' || :padding || '"}' AS BLOB),
        200, '', 1, 1, 1
    FROM job
"""


def lines(count: int) -> Iterator[bytes]:
    for number in range(count):
        line = {"custom_id": f"j{number}", "assistant_id": "asst_1", "instructions": PADDING}
        yield json.dumps(line).encode() + b"\n"


def peak_mib(shell: Shell, *words: object) -> float:
    """Run a command, which must end well, and return the most memory that it had."""
    figures = shell.folder / "figures"
    launch = [sys.executable, "-I", "-S", str(LAUNCH), str(figures), *COMMAND]
    done = subprocess.run(
        [*launch, *map(str, words)],
        cwd=shell.folder,
        env=shell.environ({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}),
        capture_output=True,
        text=True,
        timeout=max(LIMIT_S, MANY / 500),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(figures.read_text().split()[2]) / 1024


def to_rest(database: Path) -> None:
    connection = sqlite3.connect(database)
    with connection:
        for statement in TO_REST.split(";"):
            connection.execute(statement, {"padding": PADDING})
    connection.close()


@pytest.mark.skipif(sys.platform == "darwin", reason="counts the peak in bytes")
@pytest.mark.timeout(max(180, MANY / 100))
def test_memory_does_not_grow_with_the_lines(shell: Shell) -> None:
    peaks: dict[int, list[float]] = {}
    for count in (FEW, MANY):
        manifest = shell.folder / f"m{count}.jsonl"
        with manifest.open("wb") as file:
            file.writelines(lines(count))
        database = shell.folder / f"{count}.db"
        out = shell.folder / "o.jsonl"
        peaks[count] = [peak_mib(shell, "check", manifest.name)]
        peaks[count] += [peak_mib(shell, "queue", manifest.name, "--db", database)]
        to_rest(database)
        peaks[count] += [peak_mib(shell, "export", "--db", database, "--out", out)]
        with out.open("rb") as rows:
            assert sum(1 for _ in rows) == count
    of = dict(
        zip(("check", "queue", "export"), zip(peaks[FEW], peaks[MANY], strict=True), strict=True)
    )
    for command in ("check", "export"):
        few, many = of[command]
        assert many - few < MORE_MIB, of
    # A chunk read ahead and SQLite's own pages are there from some thousand lines on.
    assert of["queue"][1] < QUEUE_MIB, of


def test_queueing_tells_how_far_it_is_and_ctrl_c_leaves_a_batch_that_the_next_finishes(
    shell: Shell,
) -> None:
    """The second half of the lines comes only once the first is queued."""
    count = 6_000
    manifest, halves = shell.folder / "m.jsonl", shell.folder / "pipe"
    with manifest.open("wb") as file:
        file.writelines(lines(count))
    os.mkfifo(halves)
    words = ("--db", "r.db", "--base-url", "http://127.0.0.1:9/v1", "--batch", "m")
    process = shell.start("queue", halves.name, *words)
    with halves.open("wb") as pipe:
        pipe.writelines(lines(count // 2))
        pipe.flush()
        queued = jobs_until(shell.folder / "r.db", 1)
        ended = interrupt(process)
    assert ended.code == 3, ended.err
    assert "queueing: 1,000 lines" in ended.err
    assert "Traceback" not in ended.err
    assert jobs_until(shell.folder / "r.db", 1) >= queued
    store = Store.open(str(shell.folder / "r.db"))
    try:
        assert store.check() == []
    finally:
        store.close()
    again = shell.run("queue", manifest.name, *words)
    assert again.code == 0, again.err
    assert jobs_until(shell.folder / "r.db", count) == count


def jobs_until(database: Path, many: int) -> int:
    """Wait for so many jobs to be queued, and return how many are."""
    pause, jobs = Event(), 0
    for _ in range(int(LIMIT_S / 0.05)):
        try:
            connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
            (jobs,) = connection.execute("SELECT count(*) FROM job").fetchone()
            connection.close()
        except sqlite3.OperationalError:  # it is not made yet
            pass
        if jobs >= many:
            return int(jobs)
        pause.wait(0.05)
    raise AssertionError(f"{jobs} of {many} jobs were queued")
