"""Rules of the house that no linter knows."""

import ast
import re
import tomllib

from shell_blocks import ROOT

import runner
from runner.core.points import Point

MODULES = sorted((ROOT / "runner").rglob("*.py"))
PYTHON = [
    path
    for folder in ("runner", "tests", "jobs", "benchmarks", "migrations")
    for path in (ROOT / folder).rglob("*.py")
]

# A name that says nothing draws in everything.
NO_NAMES = re.compile(r"_?(utils?|helpers?|common|base|misc|managers?|types|tools_misc)\Z")
NO_CLASSES = re.compile(r"(Manager|Handler|Processor|Helper|Util)\Z")


def test_every_module_says_what_it_is_for() -> None:
    said = {path: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in MODULES}
    assert [path for path, text in said.items() if not text] == []


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    names = {part for path in PYTHON for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not [name for name in names if NO_NAMES.match(name)]


def test_no_class_of_ours_is_a_manager_of_something() -> None:
    named = {
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert not [name for name in named if NO_CLASSES.search(name)]


def test_every_named_point_stands_in_the_code() -> None:
    text = "\n".join(path.read_text("utf-8") for path in MODULES if path.name != "points.py")
    assert [point.name for point in Point if f"Point.{point.name}" not in text] == []


def test_a_test_kills_at_every_named_point() -> None:
    folder = ROOT / "tests" / "crash"
    crash = "\n".join(path.read_text("utf-8") for path in folder.glob("test_*.py"))
    # Not by hand: a point that is added is a point that is killed at.
    assert re.search(r"parametrize\(\s*\"point\", .*\bin Point\b", crash)
    left_out = re.search(r"^NOT_REACHED_BY_ONE_START = \{(.*?)\}$", crash, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"Point\.(\w+)", left_out[1] if left_out else ""):
        assert crash.count(f"Point.{name}") > 1, f"{name} is left out and has no test of its own"


def test_one_version_stands_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert runner.__version__ == version
    assert re.search(
        rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )


def test_what_a_person_starts_can_be_started() -> None:
    for name in (".ci/run", "jobs/nightly/nightly"):
        assert (ROOT / name).stat().st_mode & 0o111, f"{name} is not executable"
