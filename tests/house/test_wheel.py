"""A wheel of the project is whole: it installs and runs outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from shell_blocks import ROOT, environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    (made,) = folder.glob("runner-*.whl")
    return made


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's files, as an installer would lay them out."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(unpacked: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # What stands in PYTHONPATH comes before the checkout that an editable install points to.
    env = {**environment(), "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=env,
        text=True,
        check=False,
        capture_output=True,
        timeout=120,
    )


def test_the_wheel_holds_every_module_and_migration_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "runner").rglob("*.py")}
    migrations = [
        path
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted |= {f"runner/{path.relative_to(ROOT)}" for path in migrations}
    assert any(name.startswith("runner/migrations/versions/") for name in wanted)
    extra = {name for name in names - wanted if not name.endswith("py.typed")}
    assert wanted <= names
    assert extra == set()


def test_it_runs_a_manifest_outside_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    where = python(unpacked, tmp_path, "-c", "import runner; print(runner.__file__)")
    assert where.stdout.strip().startswith(f"{unpacked}{os.sep}")
    hello = ROOT / "jobs" / "hello.jsonl"
    done = python(unpacked, tmp_path, "-m", "runner", "run", str(hello), "--simulate", "--out", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 12
    checked = python(
        unpacked, tmp_path, "-m", "runner", "db", "check", "--db", "runner-simulated.db"
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_brings_the_command_and_the_group_for_dialects(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(points).decode()
    assert "[console_scripts]\nrunner = runner.__main__:main\n" in text
