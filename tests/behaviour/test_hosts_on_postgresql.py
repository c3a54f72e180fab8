"""On PostgreSQL: two connections a process, a pooler in between, and other hosts heard at once."""

import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from behaviour.stage import Stage
from forked import PIPE, Forked
from pooler import Pooler, program
from postgres_server import PostgresServer
from simulator_process import SimulatorProcess
from ways import PROCESSES

from runner.app import Commands
from runner.carrying import Feed, carry
from runner.core.batch import Queued
from runner.core.view import View
from runner.work import pool

on_postgresql = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)


@pytest.fixture
def pooler(postgres_server: PostgresServer) -> Iterator[Pooler]:
    found = program()
    if found is None:
        pytest.skip("there is no PgBouncer on this machine")
    with Pooler(found, postgres_server) as one:
        yield one


@on_postgresql
def test_a_process_at_work_has_two_connections_at_most(
    stage: Stage, postgres_server: PostgresServer
) -> None:
    name = stage.database.rpartition("/")[2]
    most: list[int] = []
    question = (
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as beside:

        def see(_runner: Commands, _view: View) -> None:
            row = beside.execute(question, (name,)).fetchone()
            assert row is not None
            most.append(row[0])

        carried = stage.run(stage.lines(80), see, rpm=6000.0, window=1.0)
    assert carried.exit_code == 0, stage.warnings
    # The command that watches several is a process too.
    processes = 1 + PROCESSES if PROCESSES > 1 else 1
    assert 2 <= max(most) <= 2 * processes


def test_two_commands_behind_a_pooler_in_transaction_mode_share_the_work(
    server: SimulatorProcess, tmp_path: Path, postgres_server: PostgresServer, pooler: Pooler
) -> None:
    # Without tables, so that the migration goes through the pooler too.
    stage = Stage(tmp_path, server, pooler.url(postgres_server.fresh()))
    lines = [*stage.lines(58), stage.line("doubt", fault="drop_after"), stage.line("last")]
    path, out = stage.manifest(lines), tmp_path / "theirs.jsonl"
    with stage.runner() as runner:
        runner.queue([path], io.BytesIO())
        runner.store.listen(lambda: None)
        listener = runner.store._listener
        assert listener is not None
        # It sees the pooler and gives up: LISTEN would stay behind in a session of others.
        listener._thread.join(20)
        assert not listener._thread.is_alive()
    rates = {"rpm": 3000.0, "window": 1.0, "doubt_wait": 1.0}
    words = ["-", "1", stage.database, str(out), server.url, path, json.dumps(rates)]
    child = Forked("crash.child", *words, stderr=PIPE)
    try:
        ours = stage.run(rpm=3000.0, window=1.0)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (ours.exit_code, child.returncode) == (0, 0), said + " ".join(stage.warnings)
    stage.check_once_each(60)


@on_postgresql
def test_a_worker_that_waits_for_more_hears_of_jobs_and_wishes_from_another_host(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where it looked by itself it would look too late for this test.
    monkeypatch.setattr(pool, "ALL_QUIET_S", 600.0)
    monkeypatch.setattr(pool, "UPKEEP_S", 600.0)
    first = stage.manifest(stage.lines(1, "first"))
    more = [stage.line("more"), stage.line("endless", fate="slow:3600")]
    second = stage.manifest(more, "more.jsonl")
    done: list[str] = []

    def other(view: View) -> None:
        with stage.runner() as elsewhere:
            if "queued" not in done and view.progress.at_rest == 1:
                done.append("queued")
                elsewhere.queue([second], io.BytesIO(), batch=batch)
            elif "cancelled" not in done and view.progress.at_rest == 2:
                done.append("cancelled")
                elsewhere.cancel("m")
            elif "interrupted" not in done and view.progress.at_rest == 3:
                # Once: a second one ends this process at once, and the tests with it.
                done.append("interrupted")
                signal.raise_signal(signal.SIGINT)

    with stage.runner(lambda _runner, view: other(view)) as runner:
        batch = runner.begin([first])
        runner.queue([first], io.BytesIO(), batch=batch)
        feed = Feed(batch, lambda _telling: Queued())
        carried = carry(runner.parts, [batch], feed=feed, forever=True)
    assert done == ["queued", "cancelled", "interrupted"]
    assert carried.ending.stopped == "interrupted"
