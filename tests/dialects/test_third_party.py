"""The README's dialect of one's own: that very text, as an installed package, carries a job."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shell_blocks import ROOT, environment
from simulator_process import SimulatorProcess

KEY = "acme-secret"


def example(name: str) -> str:
    """Return what stands in the README's fenced block of that name."""
    text = (ROOT / "README.md").read_text("utf-8")
    (found,) = re.findall(
        rf"^<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    return str(found)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as an installer leaves it."""
    site = tmp_path / "site"
    facts = site / "acme_dialect-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "acme_dialect.py").write_text(example("acme_dialect.py"), "utf-8")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-dialect\nVersion: 1.0\n")
    group = example("pyproject.toml")
    told = group.replace('[project.entry-points."runner.dialects"]', "[runner.dialects]")
    assert told != group
    (facts / "entry_points.txt").write_text(told.replace('"', ""), "utf-8")
    return site


def runner(folder: Path, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner", *words],
        cwd=folder,
        env={**environment(), "PYTHONPATH": str(site), "ACME_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_example_has_forty_lines_at_most() -> None:
    assert example("acme_dialect.py").count("\n") <= 40


def test_the_example_of_the_readme_carries_a_job_and_judges_a_line(
    tmp_path: Path, site: Path
) -> None:
    good = {"custom_id": "a", "assistant_id": "asst_1", "metadata": {"team": "blue"}}
    bad = {"custom_id": "b", "assistant_id": "asst_1"}
    (tmp_path / "m.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    with SimulatorProcess("--strict-headers", "--duration", "0.05") as server:
        words = ("--dialect", "acme", "--base-url", server.url, "--dialect-option", "tenant=blue")
        done = runner(tmp_path, site, "run", "m.jsonl", *words, "--out", "o.jsonl")
        headers = server.audit().told["headers"]
    assert done.returncode == 1, done.stderr
    assert "m.jsonl:2: metadata.team: missing; the gateway charges a team" in done.stderr
    (row,) = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert (row["custom_id"], row["status"]) == ("a", "completed")
    assert isinstance(headers, dict)
    assert headers["x-acme-tenant"] >= 1
    assert headers["x-acme-key"] == headers["x-acme-tenant"]
    assert "authorization" not in headers
