"""The switch by which .ci/run refuses a skipped test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent / "no_skip.py"

SKIPS = {
    "mark": "import pytest\n@pytest.mark.skip(reason='by a mark')\ndef test_it() -> None: ...\n",
    "call": "import pytest\ndef test_it() -> None:\n    pytest.skip('by a call')\n",
    "module": "import pytest\npytest.skip('of a module', allow_module_level=True)\n",
}
EXPECTED_FAILURE = (
    "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it() -> None:\n    assert 0\n"
)


def run_pytest(folder: Path, switch: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(PLUGIN, folder / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\n")
    mine = os.environ  # noqa: TID251 - the child's environment
    env = {**mine, "RUNNER_TEST_NO_SKIP": switch, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", str(folder)]
    return subprocess.run(command, env=env, text=True, check=False, capture_output=True, timeout=60)


@pytest.fixture
def skipping(tmp_path: Path) -> Path:
    """A folder of tests that skip in every way."""
    for kind, text in SKIPS.items():
        (tmp_path / f"test_{kind}.py").write_text(text)
    return tmp_path


def test_every_kind_of_skip_fails_the_run_when_the_switch_is_set(skipping: Path) -> None:
    done = run_pytest(skipping, "1")
    assert done.returncode != 0
    for reason in ("by a mark", "by a call", "of a module"):
        assert f"skipped, and RUNNER_TEST_NO_SKIP is set: Skipped: {reason}" in done.stdout
    assert " skipped" not in done.stdout.splitlines()[-1]


def test_a_skip_is_no_failure_without_the_switch(skipping: Path) -> None:
    assert "3 skipped" in run_pytest(skipping, "").stdout.splitlines()[-1]


def test_what_the_machine_does_not_allow_stays_a_skip(tmp_path: Path) -> None:
    text = SKIPS["call"].replace("by a call", "this machine does not allow it")
    (tmp_path / "test_call.py").write_text(text)
    assert "1 skipped" in run_pytest(tmp_path, "1").stdout.splitlines()[-1]


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    (tmp_path / "test_known.py").write_text(EXPECTED_FAILURE)
    assert "1 xfailed" in run_pytest(tmp_path, "1").stdout.splitlines()[-1]
