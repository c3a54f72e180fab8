"""The switch by which .ci/run refuses a skipped test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent.parent / "conftest.py"

SKIPS = {
    "a mark": "import pytest\n@pytest.mark.skip(reason='not today')\ndef test_it() -> None: ...\n",
    "a call": "import pytest\ndef test_it() -> None:\n    pytest.skip('not today')\n",
    "a module": "import pytest\npytest.skip('not today', allow_module_level=True)\n",
}
EXPECTED_FAILURE = (
    "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it() -> None:\n    assert 0\n"
)


def run_pytest(folder: Path, text: str, switch: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder)
    (folder / "test_one.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    env = {**os.environ, "RUNNER_TEST_NO_SKIP": switch}  # noqa: TID251 - the child's environment
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, env=env, text=True, check=False, capture_output=True, timeout=60)


@pytest.mark.parametrize("kind", SKIPS)
def test_a_skip_fails_the_run_when_the_switch_is_set(kind: str, tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS[kind], "1")
    assert done.returncode != 0
    assert "not today" in done.stdout


def test_a_skip_is_no_failure_without_the_switch(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, SKIPS["a mark"], "").returncode == 0


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, EXPECTED_FAILURE, "1").returncode == 0
