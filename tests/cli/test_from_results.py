"""`runner queue --from-results`: only what failed elsewhere, or is missing there, is run here."""

import json
from pathlib import Path

from cli.shell import SIMULATED, Shell

Line = dict[str, object]
OPENAI_OUTPUT = {"id": "batch_req_1", "custom_id": "j1", "error": None}
WELL = {"status_code": 200, "request_id": "r", "body": {"object": "thread.run", "id": "run_1"}}
QUEUE = ("queue", "--base-url", "https://agents.example.org/v1")
BADLY = {"status_code": 429, "request_id": "r", "body": {"error": {"message": "slow down"}}}


def names(shell: Shell, batch: str = "m") -> list[str]:
    """The jobs of a batch, all of them queued before; cancelled, so that the export has them."""
    shell.run("cancel", batch)
    shell.run("export", batch, "--out", "all.jsonl")
    rows = (shell.folder / "all.jsonl").read_text().splitlines()
    return [json.loads(row)["custom_id"] for row in rows]


def write(folder: Path, name: str, lines: list[Line]) -> str:
    (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return name


def test_openais_output_and_error_files_leave_what_failed_and_what_is_missing(
    shell: Shell,
) -> None:
    manifest = shell.jobs(5)
    output = write(
        shell.folder,
        "output.jsonl",
        [
            {**OPENAI_OUTPUT, "response": WELL},
            {**OPENAI_OUTPUT, "custom_id": "j2", "response": BADLY},
            {**OPENAI_OUTPUT, "custom_id": "other", "response": WELL},
        ],
    )
    errors = write(
        shell.folder,
        "errors.jsonl",
        [
            {"custom_id": "j3", "response": None, "error": {"code": "batch_expired"}},
            {"custom_id": "j2", "response": WELL, "error": None},
        ],
    )
    done = shell.run(*QUEUE, manifest, "--from-results", output, "--from-results", errors)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "batch m",
        "queued: 3 new, 0 known, 2 ended well elsewhere (not queued)",
        "results: 3 ended well, 1 did not",
    ]
    assert "next: runner work --batch m" in done.err
    assert names(shell) == ["j3", "j4", "j5"]


def test_each_form_of_our_own_results_leaves_the_failed_ones(shell: Shell) -> None:
    fates = {"f1": "failed", "g1": "completed", "f2": "incomplete", "g2": "completed"}
    lines = [
        {"custom_id": name, "assistant_id": "a", "metadata": {"fate": fate}}
        for name, fate in fates.items()
    ]
    manifest = shell.manifest("m.jsonl", [*lines, {"assistant_id": "nameless"}])
    there = ("--db", "there.db", *SIMULATED)
    assert shell.run("run", manifest, *there).code == 1
    for form in ("jsonl", "batch", "raw"):
        exported = shell.run("export", "--db", "there.db", "--out", f"r.{form}", "--format", form)
        assert exported.code == 0, exported.err
        files = [f"r.{form}", f"r.errors.{form}"] if form == "batch" else [f"r.{form}"]
        flags = [word for file in files for word in ("--from-results", file)]
        done = shell.run(*QUEUE, manifest, "--batch", form, *flags)
        assert done.code == 0, done.err
        assert "queued: 2 new, 0 known, 3 ended well elsewhere" in done.out
        assert names(shell, form) == ["f1", "f2"]


def test_the_same_command_again_changes_nothing_and_a_plain_one_queues_the_rest(
    shell: Shell,
) -> None:
    manifest = shell.jobs(3)
    results = write(shell.folder, "r.jsonl", [{**OPENAI_OUTPUT, "response": WELL}])
    command = (*QUEUE, manifest, "--batch", "m", "--from-results", results)
    assert "2 new, 0 known, 1 ended" in shell.run(*command).out
    assert "0 new, 2 known, 1 ended" in shell.run(*command).out
    # More of it ended there meanwhile: what is known here stays, and is not told as gone.
    write(shell.folder, "r.jsonl", [{"custom_id": "j2", "status": 200, "body": {}}])
    again = shell.run(*command).out
    assert "queued: 1 new, 2 known\n" in again
    assert "1 ended well, 0 did not" in again
    assert "3 known" in shell.run(*QUEUE, manifest).out


def test_a_line_that_is_no_result_queues_nothing(shell: Shell) -> None:
    manifest = shell.jobs(2)
    good = {**OPENAI_OUTPUT, "response": WELL}
    (shell.folder / "r.jsonl").write_text(f"{json.dumps(good)}\n{{}}\n")
    done = shell.run(*QUEUE, manifest, "--from-results", "r.jsonl")
    assert done.code == 2
    assert done.err.startswith("runner: r.jsonl:2: no results line: '{}'; give rows of an export")
    assert done.err.count("\n") == 1
    assert shell.run("status").out == "no batches\n"


def test_files_that_are_not_there_and_one_input_for_two_are_one_line(shell: Shell) -> None:
    manifest = shell.jobs(1)
    done = shell.run(*QUEUE, manifest, "--from-results", "none.jsonl")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "none.jsonl" in done.err
    done = shell.run(*QUEUE, "-", "--batch", "b", "--from-results", "-")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--from-results: standard input cannot be read twice" in done.err


def test_bad_lines_of_the_manifest_are_kept_apart_as_ever(shell: Shell) -> None:
    lines: list[Line] = [
        {"custom_id": "j1", "assistant_id": "a"},
        {"custom_id": "j2"},
        {"custom_id": "j3", "assistant_id": "a"},
    ]
    manifest = shell.manifest("m.jsonl", lines)
    results = write(shell.folder, "r.jsonl", [{**OPENAI_OUTPUT, "response": WELL}])
    done = shell.run(*QUEUE, manifest, "--from-results", results)
    assert done.code == 1
    assert "1 new, 0 known, 1 bad, 1 ended well elsewhere" in done.out
    assert len((shell.folder / "m.jsonl.rejected.jsonl").read_text().splitlines()) == 1


def test_results_may_be_packed_and_come_from_standard_input(shell: Shell) -> None:
    manifest = shell.jobs(2)
    text = json.dumps({**OPENAI_OUTPUT, "response": WELL})
    done = shell.run(*QUEUE, manifest, "--from-results", "-", stdin=f"{text}\n")
    assert "1 new, 0 known, 1 ended" in done.out, done.err
