"""A probe finds what a server can prove, and the next run goes by it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from simulator_process import SimulatorProcess

from runner.app import Commands
from runner.config import load
from runner.core.errors import UsageError
from runner.core.model import Proofs
from runner.work.probe import Probed


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[SimulatorProcess]:
    flags: tuple[str, ...] = request.param
    with SimulatorProcess("--duration", "5", *flags) as simulator:
        yield simulator


def probe(server: SimulatorProcess, folder: Path, assistant: str | None = "asst_1") -> Probed:
    flags = {"db": str(folder / "r.db"), "base_url": server.url}
    with Commands(load(flags, environ={})) as runner:
        return runner.probe(assistant)


@pytest.mark.parametrize(
    ("server", "proofs"),
    [
        ((), Proofs(lists=True, tags=True, locks=True)),
        (("--keys",), Proofs(keys=True, lists=True, tags=True)),
        (("--no-lock",), Proofs(lists=True, tags=True)),
        (("--no-tags",), Proofs(lists=True, locks=True)),
        (("--no-list",), Proofs(locks=True)),
    ],
    indirect=["server"],
    ids=["as documented", "keys honoured", "no lock", "tags dropped", "no list"],
)
def test_a_probe_tells_what_a_server_proves(
    server: SimulatorProcess, proofs: Proofs, tmp_path: Path
) -> None:
    assert probe(server, tmp_path).proofs == proofs


@pytest.mark.parametrize("server", [("--limit", "50", "--window", "60")], indirect=True)
def test_a_probe_tells_of_limit_headers_and_leaves_nothing_active(
    server: SimulatorProcess, tmp_path: Path
) -> None:
    probed = probe(server, tmp_path)
    assert "x-ratelimit-limit-requests" in probed.limit_headers
    assert {run["status"] for run in server.runs().values()} <= {"cancelled", "cancelling"}


@pytest.mark.parametrize("server", [()], indirect=True)
def test_a_probe_that_may_not_make_a_run_says_so_in_one_line(
    server: SimulatorProcess, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="No assistant found"):
        probe(server, tmp_path, "asst_missing_1")
    with pytest.raises(UsageError, match="--assistant-id"):
        probe(server, tmp_path, None)


@pytest.mark.parametrize("server", [("--no-list",)], indirect=True)
def test_what_a_probe_found_is_what_the_next_batch_goes_by(
    server: SimulatorProcess, tmp_path: Path
) -> None:
    probe(server, tmp_path)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"custom_id":"a","thread_id":"t","assistant_id":"asst_1"}\n')
    flags = {"db": str(tmp_path / "r.db"), "base_url": server.url}
    with Commands(load(flags, environ={})) as runner:
        assert runner.begin([str(manifest)]).proofs == Proofs(locks=True)
