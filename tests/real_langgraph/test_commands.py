"""The commands against a real Agent Server: probe, stream, cancel, show, and how a graph can end."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest
from cli.shell import Shell
from langgraph_server import ASSISTANT, Found, LangGraphServer, given, metadata_of

Row = dict[str, object]


@pytest.fixture
def api(server: LangGraphServer) -> list[str]:
    """The options that every command here shares."""
    return ["--dialect", "langgraph", "--base-url", server.url]


def line(name: str, told: Found, **more: object) -> Found:
    return {"custom_id": name, "assistant_id": ASSISTANT, "input": told, **more}


def rows(folder: Path) -> dict[str, Row]:
    with (folder / "o.jsonl").open(encoding="utf-8") as results:
        found = [json.loads(line) for line in results]
    return {str(row["custom_id"]): row for row in found}


def test_a_probe_finds_what_this_server_does(
    server: LangGraphServer, shell: Shell, api: list[str]
) -> None:
    probed = shell.run("probe", "--assistant-id", ASSISTANT, "--json", *api)
    assert probed.code == 0, probed.err
    told = json.loads(probed.out)
    runs = server.runs_of(told["thread_id"])
    proofs = told["proofs"]
    assert {name for name, proven in proofs.items() if proven} == {"lists", "tags", "locks"}
    # By the server: the second create was refused, and the run of the first has ended.
    assert [run["run_id"] for run in runs] == told["runs"]
    assert len(runs) == 1
    assert runs[0]["status"] not in ("pending", "running")
    assert str(metadata_of(runs[0])["runner_key"]).startswith("run-")
    said = shell.run("probe", "--assistant-id", ASSISTANT, *api)
    assert "the tag comes back: yes" in said.out
    assert "one active run a thread: yes" in said.out
    refused = shell.run("probe", "--assistant-id", "nobody", *api)
    assert refused.code == 2
    assert "Invalid assistant: 'nobody'" in refused.err


def lines(shared: str) -> list[Found]:
    """Make a job for each way in which a graph can end; `shared` is a thread that is not there."""
    named = {"thread_id": shared, "if_not_exists": "create"}
    return [
        line("answers", given("a")),
        line("fails", given(fail='it\'s "broken"\nthere'), **named),
        line("follows", given("f"), **named),
        line("asks", given(ask="go on?")),
        line("has a past", given("p"), thread={"metadata": {"user": 7}}),
    ]


def check_ends(server: LangGraphServer, found: dict[str, Row], shared: str) -> None:
    """Each row tells what the server does, a failed one why."""
    assert {name: f"{row['state']} {row['status']}" for name, row in found.items()} == {
        "answers": "succeeded success",
        "fails": "failed error",
        "follows": "succeeded success",
        # A pause for a person is `success` to this server; the question is among the steps.
        "asks": "succeeded success",
        "has a past": "succeeded success",
    }
    error = found["fails"]["error"]
    assert isinstance(error, dict)
    assert (error["type"], error["message"]) == ("valueerror", 'it\'s "broken"\nthere')
    assert found["answers"]["messages"] == [{"role": "assistant", "content": "done: a"}]
    assert "go on?" in json.dumps(found["asks"]["steps"])
    for row in found.values():
        there = [run["run_id"] for run in server.runs_of(str(row["thread_id"]))]
        assert row["run_id"] in there
        assert len(there) == 1 + (row["thread_id"] == shared)


def test_polled_runs_end_in_the_servers_words_and_are_shown(
    server: LangGraphServer, shell: Shell, api: list[str]
) -> None:
    shared = str(uuid.uuid4())
    manifest = shell.manifest("m.jsonl", lines(shared))
    ended = shell.run("run", manifest, "--out", "o.jsonl", "--with", "messages,steps", *api)
    assert ended.code == 1, ended.err
    found = rows(shell.folder)
    check_ends(server, found, shared)
    assert found["answers"]["output_text"] == "done: a"
    past = server.ask("GET", f"/threads/{found['has a past']['thread_id']}")[1]
    assert isinstance(past, dict)
    assert past["metadata"]["user"] == 7

    # The thread that was made for two jobs must not lend a job's tag to another's run.
    theirs = server.make_run(shared, given())
    tagged = {run["run_id"]: "runner_key" in metadata_of(run) for run in server.runs_of(shared)}
    assert tagged.pop(theirs) is False
    assert set(tagged.values()) == {True}
    audited = shell.run("audit", "m", *api)
    assert audited.code == 0, audited.out

    shown = shell.run("show", "fails", "--batch", "m", *api)
    assert str(found["fails"]["run_id"]) in shown.out
    assert "broken" in shown.out
    pasted = shell.run("show", "has a past", "--batch", "m", "--as", "curl", *api)
    done = shell.in_sh(pasted.out)
    assert done.code == 0, done.err
    assert len(server.runs_of(str(found["has a past"]["thread_id"]))) == 2


def test_streamed_runs_end_in_the_servers_words(
    server: LangGraphServer, shell: Shell, api: list[str]
) -> None:
    shared = str(uuid.uuid4())
    manifest = shell.manifest("m.jsonl", lines(shared))
    run = ["run", manifest, "--out", "o.jsonl", "--with", "messages,steps", "--stream", *api]
    ended = shell.run(*run)
    assert ended.code == 1, ended.err
    check_ends(server, rows(shell.folder), shared)


def test_a_cancelled_job_is_interrupted_at_the_server(
    server: LangGraphServer, shell: Shell, api: list[str]
) -> None:
    thread_id = str(uuid.uuid4())
    server.make_thread(thread_id)
    shell.manifest("m.jsonl", [line("long", given(sleep=60.0), thread_id=thread_id)])
    with shell.start("run", "m.jsonl", "--out", "o.jsonl", *api) as child:
        try:
            while not server.runs_of(thread_id):
                with pytest.raises(subprocess.TimeoutExpired):
                    child.wait(0.1)
            cancelled = shell.run("cancel", "m")
            assert cancelled.code == 0, cancelled.err
            said = child.communicate(timeout=20)
        finally:
            child.kill()
    (run,) = server.runs_of(thread_id)
    row = rows(shell.folder)["long"]
    assert child.returncode == 1, said
    assert run["status"] == "interrupted"
    assert (row["state"], row["status"], row["run_id"]) == (
        "cancelled",
        "interrupted",
        run["run_id"],
    )
