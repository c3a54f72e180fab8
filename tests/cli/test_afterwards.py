"""What is asked of a batch that is there: status, show, export, retry, cancel, db."""

import json
import re

import pytest
from cli.shell import SIMULATED, Ended, Shell

DB = ("--db", "runner-simulated.db")


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell whose folder holds a batch m of three jobs at rest: for tests that change nothing."""
    shell = Shell(tmp_path_factory.mktemp("carried"))
    assert shell.run("run", shell.jobs(3), *SIMULATED, "--out", "r.jsonl").code == 0
    return shell


@pytest.fixture
def queued(shell: Shell) -> Shell:
    """A shell whose folder holds a batch m of two queued jobs."""
    assert shell.run("queue", shell.jobs(2), "--simulate").code == 0
    return shell


def objects(ended: Ended) -> list[dict[str, object]]:
    return [json.loads(line) for line in ended.out.splitlines()]


def test_status_is_for_people_and_for_programs(carried: Shell) -> None:
    text = carried.run("status", *DB)
    assert text.code == 0
    assert text.out.startswith("batch m: 3/3 done (openai, ")
    assert re.search(r"^  succeeded  completed +3$", text.out, re.MULTILINE)
    (told,) = objects(carried.run("status", "m", "--json", *DB))
    assert (told["batch"], told["jobs"], told["whole"]) == ("m", 3, True)


def test_status_names_what_is_known_where_a_batch_is_not(carried: Shell) -> None:
    ended = carried.run("status", "n", *DB)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "runner: --batch: no batch is named 'n'; known are m\n"


def test_a_watch_ends_when_all_is_at_rest(carried: Shell) -> None:
    plain = carried.run("status", "--watch", *DB)
    assert plain.code == 0
    assert "\x1b" not in plain.out
    drawn = carried.on_terminal("status", "--watch", *DB)
    assert drawn.code == 0
    assert "batch m: 3/3 done" in drawn.out


def test_show_tells_every_attempt_and_the_run(carried: Shell) -> None:
    ended = carried.run("show", "j2", *DB)
    assert ended.code == 0
    assert ended.out.startswith("job j2 of batch m\nfrom m.jsonl:2\nsucceeded, completed, ")
    assert "\nattempts\n  1.1 " in ended.out
    (told,) = objects(carried.run("show", "j2", "--as", "json", *DB))
    assert told["request"] == {"assistant_id": "asst_1"}
    (row,) = [
        json.loads(line)
        for line in (carried.folder / "r.jsonl").read_text().splitlines()
        if '"j2"' in line
    ]
    outcomes = told["outcomes"]
    assert isinstance(outcomes, list)
    assert outcomes[-1]["run"] == row["run"]


def test_show_gives_the_request_as_a_snippet_without_the_key(carried: Shell) -> None:
    for form in ("curl", "python", "typescript"):
        ended = carried.run("show", "j2", "--as", form, *DB, "--simulate")
        assert ended.code == 0
        assert "/runs" in ended.out
        assert "asst_1" in ended.out


def test_show_of_an_unknown_job_is_one_line(carried: Shell) -> None:
    ended = carried.run("show", "nobody", *DB)
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(r"runner: .*'?nobody.*\n", ended.err)


def test_export_writes_what_run_wrote(carried: Shell) -> None:
    ended = carried.run("export", "--out", "again.jsonl", *DB)
    assert (ended.code, ended.out, ended.err) == (0, "", "3 rows to again.jsonl\n")
    written = (carried.folder / "again.jsonl").read_bytes()
    assert written == (carried.folder / "r.jsonl").read_bytes()


def test_export_chooses_by_state_status_and_format(carried: Shell) -> None:
    assert carried.run("export", "m", "--out", "-", "--state", "failed", *DB).out == ""
    rows = objects(carried.run("export", "m", "--out", "-", "--status", "completed", *DB))
    assert [row["custom_id"] for row in rows] == ["j1", "j2", "j3"]
    table = carried.run("export", "m", "--out", "-", "--format", "csv", *DB).out
    assert table.startswith("batch,custom_id,")


def test_export_without_a_batch_says_so(shell: Shell) -> None:
    ended = shell.run("export", "--out", "-", "--db", "new.db")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("runner: new.db: the database holds no batch; ")


def test_retry_queues_the_failed_ones_again(shell: Shell) -> None:
    failing = ("--simulate", "--simulator=--duration=0.05", "--simulator=--fate=failed=1")
    assert shell.run("run", shell.jobs(2), *failing, "-q").code == 1
    ended = shell.run("retry", "m", "--status", "failed", *DB)
    assert (ended.code, ended.out) == (0, "2 jobs of m queued again\n")
    again = shell.run("run", "m.jsonl", *SIMULATED, "--out", "-")
    assert again.code == 0
    assert [row["generation"] for row in objects(again)] == [2, 2]
    assert all(row["earlier_runs"] for row in objects(again))


def test_retry_of_a_name_that_is_not_there_is_told(carried: Shell) -> None:
    ended = carried.run("retry", "m", "--only", "nobody", *DB)
    assert (ended.code, ended.out) == (0, "0 jobs of m queued again\n")
    assert ended.err == "runner: warning: no job of m is named 'nobody'\n"


def test_cancel_ends_queued_jobs_at_once(queued: Shell) -> None:
    ended = queued.run("cancel", "m", "--only", "j1", *DB)
    assert (ended.code, ended.out) == (0, "1 job of m cancelled, 0 jobs being cancelled\n")
    assert queued.run("work", *SIMULATED).code == 1
    rows = objects(queued.run("export", "m", "--out", "-", *DB))
    assert [row["state"] for row in rows] == ["cancelled", "succeeded"]


def test_queue_reports_and_names_the_next_command(shell: Shell) -> None:
    ended = shell.run("queue", shell.jobs(2), "--simulate")
    assert (ended.code, ended.out) == (0, "batch m\nqueued: 2 new, 0 known\n")
    assert ended.err.endswith("next: runner work --batch m --db runner-simulated.db --simulate\n")
    other = [{"custom_id": "j1", "assistant_id": "asst_2"}]
    conflict = shell.run("queue", shell.manifest("m.jsonl", other), "--simulate")
    assert conflict.code == 1
    assert "1 in conflict (nothing changed)" in conflict.out


def test_the_database_is_checked_upgraded_and_vacuumed(carried: Shell) -> None:
    assert carried.run("db", "check", *DB).out == "sound\n"
    assert carried.run("db", "upgrade", *DB).code == 0
    assert "bytes before" in carried.run("db", "vacuum", *DB).out


def test_a_file_that_is_no_database_is_one_line(shell: Shell) -> None:
    (shell.folder / "odd.db").write_bytes(b"this is no database" * 100)
    ended = shell.run("status", "--db", "odd.db")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("runner: ")
    assert ended.err.count("\n") == 1


def test_audit_compares_with_the_server_and_finds_nothing(carried: Shell) -> None:
    ended = carried.run("audit", "m", *DB, *SIMULATED)
    assert ended.code == 0
    assert "3 jobs on 3 threads, 3 runs on the server" in ended.out
    (told,) = objects(carried.run("audit", "m", "--json", *DB, *SIMULATED))
    assert (told["jobs"], told["findings"]) == (3, [])


def test_probe_tells_what_a_server_can_prove(shell: Shell) -> None:
    ended = shell.run("probe", *DB, *SIMULATED, "--assistant-id", "asst_1")
    assert ended.code == 0
    assert "runs can be listed by thread: yes" in ended.out


def test_a_database_is_copied_whole(carried: Shell) -> None:
    ended = carried.run("db", "copy", "other.db", *DB)
    assert ended.code == 0
    rows = carried.run("export", "--out", "-", "--db", "other.db").out
    assert rows == (carried.folder / "r.jsonl").read_text()
