"""Snippets that work when they are pasted."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from simulator_process import SimulatorProcess

from runner.cli.snippets import snippet
from runner.core.call import Call

SAID = b'it\'s \\"$HOME\\" `x` \\u2028\xe2\x80\xa8 ${y}'
BODY = b'{"assistant_id": "asst_1", "instructions": "' + SAID + b'", "temperature": 0.10}'
CALL = Call(
    "POST",
    "/threads/thread_1/runs",
    "include[]=x",
    BODY,
    headers=(("OpenAI-Beta", "assistants=v2"), ("Content-Type", "application/json")),
    creates=True,
)
KEY = ("Authorization", "Bearer ")


def pasted(command: list[str], folder: Path) -> dict[str, object]:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"OPENAI_API_KEY": "sk-1", "HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_pasted_python_and_curl_make_the_run_that_was_asked_for(tmp_path: Path) -> None:
    script = tmp_path / "asked.py"
    with SimulatorProcess("--key", "sk-1", "--strict-headers", "--no-lock") as server:
        script.write_text(snippet("python", CALL, server.url, KEY, "OPENAI_API_KEY"), "utf-8")
        made = [pasted([sys.executable, str(script)], tmp_path)]
        if shutil.which("curl"):
            text = snippet("curl", CALL, server.url, KEY, "OPENAI_API_KEY")
            made.append(pasted(["sh", "-c", text], tmp_path))
        bodies = [server.bodies()[str(run["id"])] for run in made]
    assert bodies == [json.loads(BODY)] * len(made)


def test_the_key_is_named_and_never_written() -> None:
    told = {form: snippet(form, CALL, "https://a.example/v1/", KEY, "MY_KEY") for form in FORMS}
    assert '-H "Authorization: Bearer $MY_KEY"' in told["curl"]
    assert told["curl"].startswith("curl -g -X POST 'https://a.example/v1/threads/")
    assert "'Authorization': 'Bearer ' + os.environ['MY_KEY']" in told["python"]
    assert '"Authorization": `Bearer ${process.env.MY_KEY}`' in told["typescript"]
    for text in told.values():
        assert "https://a.example/v1/threads/thread_1/runs?include[]=x" in text


def test_without_a_key_no_header_is_made_for_it() -> None:
    for form in FORMS:
        assert "KEY" not in snippet(form, CALL, "https://a.example/v1", None, "")


FORMS = ("curl", "python", "typescript")


@pytest.mark.parametrize("form", FORMS)
def test_a_call_without_a_body_has_none(form: str) -> None:
    call = Call("GET", "/threads/thread_1")
    told = snippet(form, call, "https://a.example/v1", None, "")
    assert "data" not in told
    assert "body" not in told


def test_typescript_is_as_written_here() -> None:
    call = Call("POST", "/x", body=b'{"a": "\xe2\x80\xa8"}')
    assert snippet("typescript", call, "https://a.example", None, "") == (
        'const answer = await fetch("https://a.example/x", {\n'
        '  method: "POST",\n'
        "  headers: {\n"
        '    "Content-Type": "application/json",\n'
        "  },\n"
        '  body: "{\\"a\\": \\"\\u2028\\"}",\n'
        "});\n"
        "console.log(await answer.text());"
    )
