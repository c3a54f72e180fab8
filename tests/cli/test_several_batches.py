"""`work` where batches of several kinds stand in one database."""

import pytest
from cli.shell import SIMULATED, Shell
from simulator_process import SimulatorProcess


def test_a_rehearsal_sends_nothing_of_a_batch_that_is_none(shell: Shell) -> None:
    with SimulatorProcess("--duration", "0.05") as server:
        env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "k"}
        assert shell.run("queue", shell.jobs(3), "--db", "r.db", env=env).code == 0
        named = shell.run("work", "--batch", "m", *SIMULATED, "--db", "r.db", env=env)
        every = shell.run("work", *SIMULATED, "--db", "r.db", env=env)
        audited = shell.run("audit", "m", *SIMULATED, "--db", "r.db", env=env)
        several = shell.run("work", *SIMULATED, "--processes", "2", "--db", "r.db", env=env)
        for ended in (named, every, audited, several):
            assert ended.code == 2, ended
            assert "batch m is no rehearsal; leave --simulate out" in ended.err
        assert server.audit().count("requests") == 0
        assert shell.run("work", "--db", "r.db", env=env).code == 0
        assert server.audit().count("create_requests") == 3


@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_a_rehearsal_that_is_over_keeps_no_other_batch_from_work(
    shell: Shell, more: tuple[str, ...]
) -> None:
    assert shell.run("run", shell.jobs(2), *SIMULATED, "--db", "r.db").code == 0
    with SimulatorProcess("--duration", "0.05") as server:
        env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "k"}
        other = shell.jobs(3, "other.jsonl")
        assert shell.run("queue", other, "--db", "r.db", env=env).code == 0
        ended = shell.run("work", "--db", "r.db", *more, env=env)
        assert (ended.code, "rehearsal" in ended.err) == (0, False), ended.err
        # One that is not over is told, and left.
        more_jobs = shell.jobs(4, "m.jsonl")
        assert shell.run("queue", more_jobs, "--simulate", "--db", "r.db").code == 0
        last = shell.jobs(2, "last.jsonl")
        assert shell.run("queue", last, "--db", "r.db", env=env).code == 0
        ended = shell.run("work", "--db", "r.db", *more, env=env)
        assert ended.code == 0, ended.err
        assert "batch m is not worked on here: --simulate: batch m is a rehearsal" in ended.err
        assert server.audit().count("create_requests") == 5


def test_a_comma_in_a_batchs_name_is_a_part_of_it_for_several_processes(shell: Shell) -> None:
    assert shell.run("queue", shell.jobs(2, "a,b.jsonl"), "--simulate", "--db", "r.db").code == 0
    ended = shell.run("work", *SIMULATED, "--processes", "2", "--db", "r.db")
    assert ended.code == 0, ended.err
    again = shell.jobs(3, "a,b.jsonl")
    ended = shell.run("run", again, *SIMULATED, "--processes", "2", "--db", "r.db")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("words", [("retry",), ("cancel",), ("export", "--out", "-"), ("audit",)])
def test_a_file_name_that_is_no_text_is_one_line(shell: Shell, words: tuple[str, ...]) -> None:
    ended = shell.run(*words, "n\udcff.jsonl")
    assert ended.code == 2
    assert ended.err == (
        "runner: n\\xff.jsonl: is not UTF-8 text; rename the file, or give another name\n"
    )


@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_a_batch_that_waits_for_another_batchs_thread_says_for_which(
    shell: Shell, more: tuple[str, ...]
) -> None:
    for name in ("one", "two"):
        lines = [{"custom_id": f"{name}-1", "thread_id": "thread_shared", "assistant_id": "asst_1"}]
        queued = shell.run("queue", shell.manifest(f"{name}.jsonl", lines), "--simulate")
        assert queued.code == 0
    ended = shell.run("work", "--batch", "two", *SIMULATED, "--stop-after", "10", *more)
    assert ended.code == 3
    told = "batch two: job two-1 waits for job one-1 of batch one, which has the turn on thread"
    assert ended.err.count(told) == 1, ended.err
    assert shell.run("work", *SIMULATED).code == 0


def test_a_second_rehearsal_of_one_database_at_a_time_is_refused(shell: Shell) -> None:
    slow = ("--simulate", "--simulator=--duration=60")
    first = shell.start("run", shell.jobs(3), *slow)
    assert first.stderr is not None
    told = first.stderr.readline()
    while "3 running" not in told:
        assert told
        told = first.stderr.readline()
    try:
        second = shell.run("run", shell.jobs(2, "other.jsonl"), *SIMULATED)
        assert second.code == 2
        assert "another simulator keeps its runs in runner-simulated.db.simulator" in second.err
    finally:
        first.kill()
        first.communicate(timeout=30)
    # What was killed left nothing that is in the way.
    assert shell.run("run", shell.jobs(2, "other.jsonl"), *SIMULATED).code == 0
