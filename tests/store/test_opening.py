"""A database is made once, brought up to date whole or not at all, and refused in one line."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from forked import PIPE, Forked
from house.new_tables import migrated, statements
from postgres_server import PostgresServer
from sqlalchemy import Connection, TypeDecorator, text
from store_book import begin, count, line, queue, rows, working, write
from store_ends import sent, succeed

from runner.core.errors import UsageError
from runner.core.model import JobState
from runner.core.moves import Doubt, Evidence, Held, Intend, Postpone, held
from runner.store import columns, migrate
from runner.store.claim import Want
from runner.store.place import place_of, shared_file_system
from runner.store.store import Store
from runner.store.tables import METADATA

OPENS = """
import os, signal, sys
from runner.store.store import Store
from runner.store.tables import METADATA
def reach(point):
    if point == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
Store.open(sys.argv[1], reach=reach).close()
"""

LOCKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


def child(source: str, *arguments: str) -> Forked:
    return Forked("", *arguments, source=source, stdin=PIPE, stdout=PIPE, stderr=PIPE)


def test_two_processes_that_open_a_new_database_at_once_make_it_once(empty_url: str) -> None:
    children = [child(OPENS, empty_url, "") for _ in range(2)]
    ends = [one.communicate(timeout=60) for one in children]
    assert [one.returncode for one in children] == [0, 0], ends
    store = Store.open(empty_url)
    assert rows(store, "SELECT version_num FROM alembic_version") == [(migrate.HEAD,)]
    store.close()


@pytest.mark.parametrize("point", ["migration_before_commit", "migration_after_commit"])
def test_a_kill_in_a_migration_leaves_a_database_that_opens(empty_url: str, point: str) -> None:
    killed = child(OPENS, empty_url, point)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    store = Store.open(empty_url)
    queue(store, begin(store), [line(1)])
    store.close()


def of_alembic(store: Store, verb: Callable[[Config], object]) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.folder()))
    config.set_main_option("path_separator", "os")

    def run(connection: object) -> None:
        config.attributes["connection"] = connection
        verb(config)

    store._write(run)


@pytest.mark.parametrize("revision", migrate.known_revisions()[:-1])
def test_a_database_of_an_older_runner_keeps_its_jobs(empty_url: str, revision: str) -> None:
    store = Store.open(empty_url)
    queue(store, begin(store), [line(n) for n in range(1, 5)])
    of_alembic(store, lambda config: command.downgrade(config, revision))
    store.close()
    if not empty_url.endswith(".db"):
        # Others may be at work there: a person says when its tables change.
        with pytest.raises(UsageError, match="from an older Runner"):
            Store.open(empty_url)
    store = Store.open(empty_url, upgrade=True)
    me = store.enlist(batches="", version="test").id
    one, two, three = store.claim(me, [Want(1, None, 3)])
    succeed(store, one)
    write(store, Intend(held(two)), Postpone(sent(two), 0))
    assert [job.id for job in store.claim_adrift(me, [1], 9)] == [two.id]
    store.give_back(me, [(three.id, three.token)])
    assert [end.custom_id for _, end in store.settled_since(1)] == [one.custom_id]
    assert store.left([1]).jobs == 3
    of_alembic(store, command.check)
    store.close()


def test_the_tables_are_what_the_migrations_make(store: Store) -> None:
    of_alembic(store, command.check)
    assert migrate.known_revisions()[-1] == migrate.HEAD


def test_a_new_sqlite_database_is_what_the_migrations_make(tmp_path: Path) -> None:
    migrated(tmp_path / "by_migrations.db")
    assert migrate.HEAD in statements(tmp_path / "by_migrations.db")
    Store.open(str(tmp_path / "new.db")).close()
    assert statements(tmp_path / "new.db") == statements(tmp_path / "by_migrations.db")


def test_the_columns_of_statements_are_those_of_the_tables() -> None:
    for named in (columns.BATCH, columns.ORIGIN, columns.JOB, columns.BUDGET):
        table = METADATA.tables[named.name]
        told = {one.name: one.type for one in named.columns}
        assert set(told) == set(table.columns.keys())
        for name, kind in told.items():
            modelled = table.columns[name].type
            under = modelled.impl if isinstance(modelled, TypeDecorator) else modelled
            assert isinstance(under, type(kind)), (named.name, name)


def test_work_begins_without_the_models_and_without_alembic(tmp_path: Path) -> None:
    """They cost a third of a second at each start."""
    source = (
        "import sys\nfrom runner.store.store import Store\nStore.open(sys.argv[1]).close()\n"
        "print(sorted({'sqlmodel', 'sqlalchemy.orm', 'alembic'} & set(sys.modules)))"
    )
    started = [sys.executable, "-c", source, str(tmp_path / "new.db")]
    done = subprocess.run(started, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_database_from_a_newer_runner_is_refused(store: Store, store_url: str) -> None:
    store._write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(UsageError, match="from a newer Runner \\(revision 9999"):
        Store.open(store_url)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE job (id INTEGER)")
    connection.close()
    with pytest.raises(UsageError, match="is a database of another program"):
        Store.open(str(path))


def test_no_database_where_there_is_none_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; make it"):
        Store.open(str(tmp_path / "nowhere" / "runner.db"))
    with pytest.raises(UsageError, match="is a directory"):
        Store.open(str(tmp_path))
    with pytest.raises(UsageError, match="no such kind of database: 'mysql'"):
        Store.open("mysql://root:secret@host/db")
    with pytest.raises(UsageError, match="has no tables; run: runner db upgrade"):
        Store.open(str(tmp_path / "runner.db"), upgrade=False)


def test_what_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runner.db"
    path.write_bytes(b"custom_id,body\n" * 200)
    with pytest.raises(UsageError, match="is not a database; give another --db"):
        Store.open(str(path))
    assert path.read_bytes() == b"custom_id,body\n" * 200


def test_a_damaged_database_is_told_in_one_line(ready_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "runner.db"
    content = bytearray(ready_file.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    with pytest.raises(UsageError, match="the database is damaged"):
        Store.open(str(path))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a child as another user")
def test_a_read_only_database_is_told_in_one_line(ready_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "runner.db"
    path.write_bytes(ready_file.read_bytes())
    path.chmod(0o444)
    source = (
        "import os, sys\nfrom runner.store.store import Store\nos.setuid(65534)\n"
        "Store.open(sys.argv[1])"
    )
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    one = child(source, str(path))
    _, errors = one.communicate(timeout=30)
    assert "UsageError" in errors.splitlines()[-1]


def test_a_database_locked_by_another_program_is_waited_for(file_store: Store) -> None:
    store, store_url = file_store, file_store.label
    work = working(store, [line(1)])
    other = child(LOCKS, store_url)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    told = threading.Event()
    second: list[Store] = []
    opening = threading.Thread(
        target=lambda: second.append(Store.open(store_url, on_trouble=lambda _text: told.set()))
    )
    opening.start()
    won: list[bool] = []
    store.record(Intend(held(work.jobs[0])), won.append)
    assert told.wait(30)
    assert won == []
    other.communicate("go on\n", timeout=30)
    opening.join(30)
    store.call(lambda: None)
    assert won == [True]
    second[0].close()


def test_after_a_restart_of_the_machine_every_wait_begins_anew(file_store: Store) -> None:
    store = file_store
    work = working(store, [line(1), line(2)])
    first, second = work.jobs
    at = Held(first.id, first.batch_id, 1, 1, JobState.SUBMITTING, first.token)
    write(
        store,
        Intend(held(first)),
        Doubt(at, Evidence("hung_up")),
        Postpone(held(second), 3_600_000),
    )
    store.retire(work.me)
    store._write(lambda c: c.execute(text("UPDATE meta SET value = 'before' WHERE name = 'boot'")))
    store._write(lambda c: c.execute(text("UPDATE job SET clock_closed_ms = 1 WHERE state = 1")))
    url = store.label
    before_ms = store.now_ms()
    again = Store.open(url)
    try:
        assert count(again, "SELECT clock_closed_ms FROM job WHERE state = 1") >= before_ms
        assert again.next_due_ms([work.batch.id]) == 1
    finally:
        again.close()


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(UsageError, match="no answer from the server") as caught:
            Store.open(f"postgresql://me:sesame@127.0.0.1:{port}/runner")
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_the_server_does_not_have_is_told(
    postgres_server: PostgresServer,
) -> None:
    with pytest.raises(UsageError, match="there is no such database"):
        Store.open(postgres_server.url("nowhere"))


def test_a_database_in_memory_works_like_any() -> None:
    memory = Store.open(":memory:")
    work = working(memory, [line(1)])
    assert write(memory, Intend(held(work.jobs[0]))) == [True]
    assert memory.left([work.batch.id]).submitting == 1
    memory.close()


@pytest.mark.parametrize(
    ("text_", "engine", "label"),
    [
        ("runner.db", "sqlite", "runner.db"),
        ("sqlite:////var/lib/r.db", "sqlite", "/var/lib/r.db"),
        (":memory:", "sqlite", ":memory:"),
        ("postgresql://me:sesame@db:5433/runs", "postgresql", "postgresql://me@db:5433/runs"),
        ("postgres://db/runs", "postgresql", "postgresql://db/runs"),
    ],
)
def test_a_place_is_read_and_told_without_a_secret(text_: str, engine: str, label: str) -> None:
    place = place_of(text_)
    assert (place.engine_name, place.label) == (engine, label)


def test_a_place_to_be_pasted_keeps_all_but_its_secrets() -> None:
    given = "postgresql://me:sesame@db/runs?sslmode=require&sslpassword=sesame"
    assert place_of(given).again == "postgresql://me:***@db/runs?sslmode=require&sslpassword=***"
    assert place_of("runs.db").again == "runs.db"


@pytest.mark.parametrize("password", ["p@sesame", "p@:sesame", "@sesame"])
def test_a_password_with_an_at_sign_is_refused_and_no_part_of_it_told(password: str) -> None:
    with pytest.raises(UsageError, match="%40") as caught:
        place_of(f"postgresql://me:{password}@db/runs")
    assert "sesame" not in str(caught.value)
    assert place_of("postgresql://me:p%40sesame@db/runs").url.password == "p@sesame"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("?bogus=1", "'invalid connection option \"bogus\"'; correct --db"),
        ("?sslmode=bogus", 'invalid sslmode value: "bogus"'),
    ],
)
def test_a_setting_that_the_driver_does_not_know_is_told_at_once(
    postgres_server: PostgresServer, setting: str, told: str
) -> None:
    url = postgres_server.url("postgres")
    with pytest.raises(UsageError) as caught:
        Store.open(f"{url}{setting}", patient=True)
    assert told in str(caught.value)


def test_two_upgrades_of_an_empty_database_at_once_are_one(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.fresh()
    look = migrate.revision
    looks = iter(range(1, 100))

    def look_and_be_overtaken(connection: Connection) -> str | None:
        found = look(connection)
        if next(looks) == 1:
            Store.open(url, upgrade=True).close()
        return found

    monkeypatch.setattr(migrate, "revision", look_and_be_overtaken)
    Store.open(url, upgrade=True).close()
    assert next(looks) > 3, "the other looked too"


def test_a_refused_connection_is_told_with_its_reason() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UsageError) as caught:
        Store.open(f"postgresql://me@127.0.0.1:{port}/runner")
    assert str(caught.value) == (
        f"postgresql://me@127.0.0.1:{port}/runner: no answer from the server: 'Connection refused'; "
        "start the server, or correct --db"
    )


MOUNTS = """
22 28 0:20 / / rw,relatime - ext4 /dev/vda rw
40 22 0:37 / /mnt/share rw,relatime shared:1 - nfs4 host:/x rw
41 22 0:38 / /mnt/with\\040blank rw - fuse.sshfs me@host: rw
42 40 0:39 / /mnt/share/local rw - ext4 /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/runner.db", None),
        ("/mnt/share/runner.db", "nfs4"),
        ("/mnt/shared/runner.db", None),
        ("/mnt/share/local/runner.db", None),
        ("/mnt/with blank/runner.db", "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_told_from_a_local_one(path: str, kind: str | None) -> None:
    assert shared_file_system(MOUNTS, Path(path)) == kind
