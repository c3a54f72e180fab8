"""Commands on a PostgreSQL database: what is said of it, and of what is wrong with it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cli.shell import SIMULATED, Shell
from postgres_server import PostgresServer

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
