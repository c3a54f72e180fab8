"""Commands on a PostgreSQL database: what is said of it, and of what is wrong with it."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cli.shell import SIMULATED, Shell
from postgres_server import PostgresServer
from until import until

PASSWORD = "sesame"


@pytest.fixture
def url(postgres_server: PostgresServer, template: str) -> str:
    return postgres_server.fresh(template)


@pytest.fixture
def guarded(postgres_server: PostgresServer, url: str) -> Iterator[str]:
    """An address whose user needs a password and may read only."""
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guarded")
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        yield url.replace("postgres@", "guarded@")
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP OWNED BY guarded; DROP ROLE guarded")


def test_a_rehearsal_on_a_server_remembers_in_a_file_of_the_working_folder(
    shell: Shell, url: str
) -> None:
    secret = url.replace("postgres@", f"postgres:{PASSWORD}@")
    first = shell.run("run", shell.jobs(3), *SIMULATED, "--db", secret)
    assert first.code == 0, first.err
    assert PASSWORD not in first.out + first.err
    (memory,) = shell.folder.glob("*.simulator.jsonl")
    assert PASSWORD not in memory.name
    # The same batch by another spelling of the address: the same memory, and an audit is clean.
    audited = shell.run("audit", "--simulate", "--db", url)
    assert (audited.code, audited.out.count("each job its run")) == (0, 1), audited.err


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("wrong", "the password is wrong; correct it in --db or in PGPASSWORD"),
        ("", "the server asks for a password; give it in PGPASSWORD"),
    ],
)
def test_a_password_that_does_not_fit_is_told_as_such(
    shell: Shell, guarded: str, password: str, why: str
) -> None:
    ended = shell.run("status", "--db", guarded, env={"PGPASSWORD": password} if password else {})
    assert ended.code == 2
    assert ended.err == f"runner: {guarded}: {why}\n"


def test_a_user_without_rights_is_told_which_and_nothing_is_done(
    shell: Shell, guarded: str
) -> None:
    env = {"PGPASSWORD": PASSWORD}
    assert shell.run("status", "--db", guarded, env=env).code == 0
    for words in (("queue", shell.jobs(2), "--simulate"), ("db", "vacuum")):
        ended = shell.run(*words, "--db", guarded, env=env)
        assert ended.code == 2, ended
        assert "permission" in ended.err
        assert "Traceback" not in ended.err


def test_a_copy_says_how_much_it_copied_and_needs_a_source(
    shell: Shell, url: str, tmp_path: Path
) -> None:
    assert shell.run("run", shell.jobs(3), *SIMULATED, "--db", "a.db").code == 0
    copied = shell.run("db", "copy", url, "--db", "a.db")
    assert (copied.code, copied.out) == (0, "copied: 1 batch, 3 jobs\n")
    again = shell.run("db", "copy", url, "--db", "a.db")
    assert again.out == "copied: 1 batch, 3 jobs, 3 of them were there before\n"
    missing = shell.run("db", "copy", url, "--db", "nosuch.db")
    assert missing.code == 2
    assert missing.err.startswith("runner: nosuch.db: there is no such file; ")
    assert not list(tmp_path.glob("nosuch.db*"))


def test_a_long_copy_shows_how_far_it_is(shell: Shell, url: str) -> None:
    queued = shell.run("queue", shell.jobs(3000), "--simulate", "--db", "a.db")
    assert queued.code == 0, queued.err
    copied = shell.run("db", "copy", url, "--db", "a.db", "--log-json")
    assert copied.code == 0
    assert '"event":"copying"' in copied.err.replace(" ", "")


def test_no_error_shows_the_password_of_the_address(shell: Shell, url: str) -> None:
    secret = url.replace("postgres@", f"postgres:{PASSWORD} x@")
    for words in (("retry",), ("cancel",), ("export", "--out", "-"), ("audit",), ("show", "j")):
        ended = shell.run(*words, "--db", secret)
        assert ended.code == 2
        assert PASSWORD not in ended.out + ended.err, ended
        assert ended.err.startswith(f"runner: {url}: ")
    for spelt in (
        secret,
        f"{url}?passw%6frd={PASSWORD}",
        f"{url}?password={PASSWORD}&sslmode=prefer",
    ):
        done = shell.run("run", shell.jobs(2), *SIMULATED, "--db", spelt)
        assert done.code == 0, done.err
        assert "***" in done.err
        assert PASSWORD not in done.out + done.err


@pytest.mark.parametrize("given", ["host=h password=sesame dbname=d", "postgresql:u:sesame@h/d"])
def test_an_address_in_another_form_is_no_files_name(shell: Shell, given: str) -> None:
    ended = shell.run("status", "--db", given)
    assert ended.code == 2
    assert PASSWORD not in ended.err
    assert "postgresql://USER@HOST/NAME" in ended.err
    assert list(shell.folder.iterdir()) == []


def test_an_address_of_several_hosts_finds_the_one_that_may_write(shell: Shell, url: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        several = url.replace("@127.0.0.1:", f"@127.0.0.1:{port},127.0.0.1:")
        several += "?target_session_attrs=read-write"
        ended = shell.run("run", shell.jobs(2), *SIMULATED, "--db", several)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding_is_refused(
    shell: Shell, postgres_server: PostgresServer, encoding: str
) -> None:
    name = f"encoded_{encoding.lower()}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0"
            " LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    ended = shell.run("status", "--db", postgres_server.url(name))
    assert ended.code == 2
    assert f"the database's encoding is {encoding}; make one with" in ended.err


def test_the_clients_own_encoding_changes_nothing(shell: Shell, url: str) -> None:
    line = {"custom_id": "\U0001f600", "assistant_id": "asst_1", "model": "caf\u00e9 \u2603"}
    manifest = shell.manifest("m.jsonl", [line])
    env = {"PGCLIENTENCODING": "LATIN1"}
    ended = shell.run("run", manifest, *SIMULATED, "--db", f"{url}?client_encoding=latin1", env=env)
    assert ended.code == 0, ended.err
    assert "\U0001f600" in shell.run("export", "--out", "-", "--db", url, env=env).out


def test_a_nul_in_a_name_of_no_column_is_carried_on_both_engines(shell: Shell, url: str) -> None:
    lines = [{"custom_id": "odd", "assistant_id": "asst_\u0000"}, {"assistant_id": "asst_1"}]
    manifest = shell.manifest("m.jsonl", lines)
    for database in (url, "r.db"):
        ended = shell.run("run", manifest, *SIMULATED, "--db", database)
        assert ended.code == 0, ended.err
    copied = shell.run("db", "copy", "copy.db", "--db", url)
    assert copied.code == 0, copied.err


@pytest.mark.parametrize("table", ["worker (id int)", "alembic_version (version_num text)"])
def test_a_database_of_another_program_is_left_alone(
    shell: Shell, postgres_server: PostgresServer, table: str
) -> None:
    theirs = postgres_server.fresh()
    with psycopg.connect(theirs, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {table}")
        if "alembic" in table:
            connection.execute(f"INSERT INTO {table.split(maxsplit=1)[0]} VALUES ('abc123def456')")
    ended = shell.run("status", "--db", theirs)
    assert ended.code == 2
    assert ended.err == (f"runner: {theirs}: is a database of another program; give another --db\n")


def test_a_search_path_without_a_schema_is_one_line(
    shell: Shell, postgres_server: PostgresServer
) -> None:
    empty = f"{postgres_server.fresh()}?options=-csearch_path%3Dnosuch"
    ended = shell.run("status", "--db", empty)
    assert ended.code == 2
    assert "there is no schema to work in; make it, or correct the search_path" in ended.err


def test_a_server_that_may_not_be_written_to_is_read_and_refuses_work_with_2(
    shell: Shell, url: str
) -> None:
    assert shell.run("run", shell.jobs(2), *SIMULATED, "--db", url).code == 0
    only_read = f"{url}?options=-cdefault_transaction_read_only%3Don"
    assert shell.run("status", "--db", only_read).code == 0
    assert shell.run("export", "--out", "-", "--db", only_read).out.count("\n") == 2
    ended = shell.run("queue", shell.jobs(3), "--simulate", "--db", only_read)
    assert ended.code == 2
    assert "the database is read-only; give the primary, or a user who may write" in ended.err


def test_a_server_that_takes_no_more_connections_says_so_while_it_is_waited_for(
    shell: Shell, url: str
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE few LOGIN SUPERUSER")
        connection.execute("ALTER ROLE few NOSUPERUSER CONNECTION LIMIT 0")
        try:
            process = shell.start(
                "run", shell.jobs(2), *SIMULATED, "--db", url.replace("postgres@", "few@")
            )
            assert process.stderr is not None
            assert "takes no more connections; waiting up to 120 s" in process.stderr.readline()
            # Nothing has begun, and nothing is drained: it says so and can be given again.
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
            assert (process.wait(), "interrupted" in said) == (3, True), said
        finally:
            connection.execute("DROP ROLE few")


def test_work_for_ever_sums_up_the_batches_that_came_later(shell: Shell, url: str) -> None:
    process = shell.start("work", "--forever", *SIMULATED, "--db", url)
    try:
        assert shell.run("queue", shell.jobs(3), "--simulate", "--db", url).code == 0

        def ended() -> bool:
            rows = shell.run("export", "m", "--out", "-", "--db", url)
            return rows.out.count("\n") == 3

        until(ended, 60)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
    assert "m: " in said, said
    assert "3 done" in said or "3 jobs done" in said, said
