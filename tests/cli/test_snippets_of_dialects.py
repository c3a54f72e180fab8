"""`show --as curl|python`, pasted, makes the run that Runner's own create made: in each dialect."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.shell import Shell
from simulator_process import SimulatorProcess
from wires import WIRES, Wire

KEY = "sk-for-these-tests"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[tuple[str, ...], SimulatorProcess]]:
    """One server for each set of flags: LangGraph's threads are another surface."""
    common = ("--key", KEY, "--no-lock", "--duration", "0.02")
    started = {flags: SimulatorProcess(*common, *flags) for flags in {w.flags for w in WIRES}}
    yield started
    for server in started.values():
        with server:
            pass


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.dialect)
def test_a_pasted_snippet_makes_the_same_run_again(
    wire: Wire, shell: Shell, servers: dict[tuple[str, ...], SimulatorProcess]
) -> None:
    server = servers[wire.flags]
    said = {"said": 'it\'s "$HOME" `x` ${y} \u2028 \\n', wire.dialect: "1"}
    manifest = shell.manifest("m.jsonl", [wire.line("a", said, f"of-{wire.dialect}")])
    flags = ("--dialect", wire.dialect, "--base-url", wire.url(server))
    keys = {wire.key: KEY}
    done = shell.run("run", manifest, *flags, "--out", "o.jsonl", env=keys)
    assert done.code == 0, done.err
    texts = {form: shell.run("show", "a", "--as", form, env=keys).out for form in FORMS}
    assert all(KEY not in text and text for text in texts.values())
    before = server.audit()
    headers = dict(before.told["headers"])  # type: ignore[call-overload] # a JSON object
    bodies = server.bodies()
    (shell.folder / "asked.py").write_text(texts["python"], "utf-8")
    commands = {"python": [sys.executable, "asked.py"], "curl": ["sh", "-c", texts["curl"]]}
    if shutil.which("curl") is None:
        del commands["curl"]
    own = mine(bodies, wire.dialect)
    for form, command in commands.items():
        answer = pasted(command, shell.folder, keys)
        assert answer.get("error") is None, (form, answer)
    assert server.audit().count("creates") - before.count("creates") == len(commands)
    made = [body for name, body in mine(server.bodies(), wire.dialect).items() if name not in own]
    assert len(own) == 1
    assert made == list(own.values()) * len(commands)
    now = server.audit().told["headers"]
    assert isinstance(now, dict)
    keyed = now["idempotency-key"] - headers["idempotency-key"]
    assert keyed == len(commands), "each goes out under the job's own key"


FORMS = ("curl", "python", "typescript")


def mine(bodies: dict[str, dict[str, object]], dialect: str) -> dict[str, dict[str, object]]:
    """Return the bodies of this dialect's jobs."""
    return {
        name: body
        for name, body in bodies.items()
        if isinstance(metadata := body.get("metadata"), dict) and dialect in metadata
    }


def pasted(command: list[str], folder: Path, keys: dict[str, str]) -> dict[str, object]:
    """Run what was pasted, in a shell that knows the key alone."""
    environment = {**keys, "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer
