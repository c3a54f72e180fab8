"""`runner check`: bad lines on stdout, exit 1 where there are any."""

from cli.shell import Shell


def test_every_bad_line_is_told_on_stdout_with_file_line_and_field(shell: Shell) -> None:
    (shell.folder / "m.jsonl").write_text(
        '{"assistant_id": "a", "temperature": 3.5}\n[1]\n{"assistant_id": "a"}\n', "utf-8"
    )
    ended = shell.run("check", "m.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--rpm", 60)
    told = ended.out.splitlines()
    assert ended.code == 1
    assert told[0].startswith("m.jsonl:1: temperature: ")
    assert told[1].startswith("m.jsonl:2: ")
    assert told[2] == "1 job, 2 bad lines"
    assert told[-1] == "at 60 creates a minute: 1.0 s or more"
    assert ended.err == ""


def test_good_lines_alone_are_exit_0_and_nothing_is_written(shell: Shell) -> None:
    manifest = shell.jobs(2)
    ended = shell.run("check", manifest, "--simulate")
    assert ended.code == 0
    assert [path.name for path in shell.folder.iterdir() if path.name[0] != "."] == [manifest]


def test_a_reader_of_the_bad_lines_may_leave_early(shell: Shell) -> None:
    shell.manifest("m.jsonl", ({"asistant_id": "a"} for _ in range(3000)))
    ended = shell.in_sh("$RUNNER check m.jsonl | head -1")
    assert ended.out.startswith("m.jsonl:1: ")
    assert ended.err == ""
