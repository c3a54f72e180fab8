"""`runner run` and what it says, in a process of its own against the simulator."""

import json
import re
import subprocess
import sys
from pathlib import Path

from cli.shell import SIMULATED, Shell, interrupt

WORDS = " ".join(SIMULATED)
TABLE = [["custom_id", "status", "tokens", "seconds", "answer"], ["j1", "completed"]]


def test_a_small_run_shows_its_results_on_stdout_and_its_talk_on_stderr(shell: Shell) -> None:
    ended = shell.run("run", shell.jobs(3), *SIMULATED)
    assert ended.code == 0
    head, first, *_more = [line.split() for line in ended.out.splitlines()]
    assert [head, first[:2]] == TABLE
    assert ended.out.count("\n") == 4
    assert ended.err.startswith("m: 3 jobs done in ")
    assert "runner export m --db runner-simulated.db --out FILE" in ended.err
    assert not set("\r\x1b").intersection(ended.err)


def test_a_large_run_without_out_tells_the_command_to_export(shell: Shell) -> None:
    ended = shell.run("run", shell.jobs(51), *SIMULATED)
    assert (ended.code, ended.out) == (0, "")
    assert "results: runner export m --db runner-simulated.db --out FILE" in ended.err


def test_the_same_command_again_sends_nothing_and_writes_the_same_file(shell: Shell) -> None:
    words = ("run", shell.jobs(4), *SIMULATED, "--out", "r.jsonl")
    first = shell.run(*words)
    written = (shell.folder / "r.jsonl").read_bytes()
    (shell.folder / "r.jsonl").unlink()
    second = shell.run(*words)
    assert (first.code, second.code, first.out, second.out) == (0, 0, "", "")
    assert "results: r.jsonl, 4 rows" in first.err
    assert "m: already complete: 4 jobs, nothing was sent" in second.err
    assert (shell.folder / "r.jsonl").read_bytes() == written


def test_out_to_stdout_gives_rows_and_nothing_else(shell: Shell) -> None:
    ended = shell.run("run", shell.jobs(3), *SIMULATED, "--out", "-")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["custom_id"] for row in rows] == ["j1", "j2", "j3"]
    assert ended.code == 0


def test_jobs_that_fail_end_with_1_a_cause_and_the_next_command(shell: Shell) -> None:
    failing = ("--simulate", "--simulator=--duration=0.05", "--simulator=--fate=failed=1")
    ended = shell.run("run", shell.jobs(2), *failing)
    assert ended.code == 1
    assert re.search(r"^  failed +failed +2$", ended.err, re.MULTILINE)
    assert re.search(r"^  2  failed: ", ended.err, re.MULTILINE)
    retry = "runner retry m --db runner-simulated.db --status failed"
    assert f"try them again: {retry}\nthen: runner run m.jsonl --simulate" in ended.err


def test_bad_lines_end_with_1_and_are_told_while_the_good_ones_run(shell: Shell) -> None:
    manifest = shell.manifest("m.jsonl", [{"asistant_id": "a"}, {"assistant_id": "a"}])
    ended = shell.run("run", manifest, *SIMULATED)
    assert ended.code == 1
    assert "runner: warning: m.jsonl:1: asistant_id: " in ended.err
    assert "queued: 1 new, 0 known, 1 bad" in ended.err
    assert "m: 1 job done" in ended.err


def test_bad_lines_that_cannot_be_written_beside_their_manifest_stop_no_good_one(
    shell: Shell,
) -> None:
    folder = shell.folder / "theirs"
    # Nothing can be written here, also where root runs the tests.
    (folder / "m.jsonl.rejected.jsonl").mkdir(parents=True)
    shell.manifest("theirs/m.jsonl", [{"asistant_id": "a"}, {"assistant_id": "a"}])
    ended = shell.run("queue", "theirs/m.jsonl", "--simulate")
    assert (ended.code, ended.out) == (1, "batch m\nqueued: 1 new, 0 known, 1 bad\n")
    assert "1 bad lines of theirs/m.jsonl are in m.jsonl.rejected.jsonl" in ended.err
    assert "asistant_id" in (shell.folder / "m.jsonl.rejected.jsonl").read_text()


def test_bad_lines_that_can_be_written_nowhere_are_told_and_stop_no_good_one(
    shell: Shell,
) -> None:
    (shell.folder / "m.jsonl.rejected.jsonl").mkdir()
    manifest = shell.manifest("m.jsonl", [{"asistant_id": "a"}, {"assistant_id": "a"}])
    ended = shell.run("queue", manifest, "--simulate")
    assert (ended.code, ended.out) == (1, "batch m\nqueued: 1 new, 0 known, 1 bad\n")
    assert "m.jsonl:1: asistant_id" in ended.err
    assert "bad lines of m.jsonl are told here only: m.jsonl.rejected.jsonl: is a" in ended.err


def test_a_manifest_that_is_not_there_is_one_line(shell: Shell) -> None:
    ended = shell.run("run", "nothere.jsonl", *SIMULATED)
    assert ended.code == 2
    assert ended.err == "runner: nothere.jsonl: no such file; check the path\n"


def test_ctrl_c_ends_with_3_and_says_what_is_left_and_how_to_go_on(shell: Shell) -> None:
    slow = ("--simulate", "--simulator=--duration=60")
    process = shell.start("run", shell.jobs(3), *slow)
    if process.stderr is None:
        raise TypeError("no stderr")
    told = process.stderr.readline()
    while "3 running" not in told:
        assert told
        told = process.stderr.readline()
    ended = interrupt(process)
    assert ended.code == 3
    assert re.search(r"^interrupted: 0 done, 3 left", ended.err, re.MULTILINE)
    assert "go on: runner run m.jsonl --simulate --simulator=--duration=60" in ended.err
    assert "Traceback" not in ended.err


def test_forced_colour_off_a_terminal_colours_and_never_moves(shell: Shell) -> None:
    ended = shell.run("run", shell.jobs(2), *SIMULATED, env={"FORCE_COLOR": "1"})
    assert set(re.findall(r"\x1b\[[0-9;?]*[A-Za-z]", ended.err)) == {"\x1b[32m", "\x1b[0m"}
    assert "\r" not in ended.err
    assert "\x1b" not in ended.out


def test_on_a_terminal_a_line_moves_and_is_gone_at_the_end(shell: Shell) -> None:
    # Runs take long enough for a few drawings: one is enough for what is asserted.
    slow = ("--simulate", "--simulator=--duration=1.5")
    ended = shell.on_terminal("run", shell.jobs(2), *slow)
    assert ended.code == 0
    assert "\r\x1b[Km: 0/2 done, " in ended.out
    before, _, after = ended.out.rpartition("\r\x1b[K")
    assert "done, " in before
    assert after.startswith("custom_id")
    assert all(len(line) < 100 for line in before.split("\r\x1b[K"))


def test_a_terminal_that_wants_no_moving_line_gets_none(shell: Shell) -> None:
    ended = shell.on_terminal("run", shell.jobs(2), *SIMULATED, env={"NO_COLOR": "1"})
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert "\r" not in ended.out.replace("\r\n", "\n")


def test_quiet_says_nothing_when_all_is_well_and_what_is_wrong_otherwise(shell: Shell) -> None:
    well = shell.run("run", shell.jobs(2), *SIMULATED, "-q", "--out", "r.jsonl")
    assert (well.code, well.out, well.err) == (0, "", "")
    bad = shell.manifest("bad.jsonl", [{"assistant_id": 1}])
    ill = shell.run("run", bad, *SIMULATED, "-q", "--out", "r.jsonl")
    assert ill.code == 1
    assert "bad.jsonl:1: assistant_id: " in ill.err


def test_log_json_writes_one_object_a_line_and_the_summary_last(shell: Shell) -> None:
    ended = shell.run("run", shell.jobs(2), *SIMULATED, "--log-json", "--out", "r.jsonl")
    told = [json.loads(line) for line in ended.err.splitlines()]
    assert told
    assert all({"time", "level", "event"} <= set(one) for one in told)
    assert told[-1]["event"] == "summary"
    assert told[-1]["exit_code"] == 0
    assert told[-1]["batches"][0]["states"]["succeeded"] == 2


def test_a_reader_that_leaves_early_is_no_error(shell: Shell) -> None:
    ended = shell.in_sh(f"$RUNNER run {shell.jobs(40)} {WORDS} --out - | head -1")
    assert json.loads(ended.out)["custom_id"] == "j1"
    assert "Traceback" not in ended.err
    assert "BrokenPipe" not in ended.err


def test_no_file_that_is_opened_later_becomes_a_closed_stdout(shell: Shell) -> None:
    script = (
        "import os, sys; from runner.cli.main import _hold_standard_descriptors as hold; hold();"
        "sys.stderr.write(str(os.open('later', os.O_CREAT | os.O_RDWR)))"
    )
    ended = shell.in_sh(f'{sys.executable} -c "{script}" >&-')
    assert ended.code == 0
    assert int(ended.err) > 2


def test_a_closed_stdout_is_told_and_the_database_takes_no_harm(shell: Shell) -> None:
    ended = shell.in_sh(f"$RUNNER run {shell.jobs(2)} {WORDS} --out - >&-")
    assert ended.code == 2
    assert "standard output: cannot be written" in ended.err
    assert shell.run("run", "m.jsonl", *SIMULATED, "--out", "r.jsonl").code == 0


def test_a_password_in_the_database_s_url_is_not_said_again(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['runner', 'run', 'm', '--db', 'postgresql://u:pw-1@h/d?a=1'];"
        "from runner.cli.given import again; print(again())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "runner run m --db 'postgresql://u:***@h/d?a=1'\n"
