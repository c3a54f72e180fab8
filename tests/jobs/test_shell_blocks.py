"""The reader of README blocks: a wrong exit code must not pass."""

from pathlib import Path

import pytest
from shell_blocks import run


@pytest.mark.parametrize(
    ("block", "code"),
    [
        ("true\n", 0),
        ("false\ntrue\n", 1),
        ("(exit 3)                 # exit 3: stopped before the end\ntrue\n", 0),
        ("true                     # exit 3\n", 90),
        ("(exit 2)                 # exit 3\n", 2),
        ("A=1 sh -c 'exit 4' | cat  # exit 0\n", 0),
    ],
)
def test_a_command_must_end_as_its_comment_says(block: str, code: int, tmp_path: Path) -> None:
    assert run(block, tmp_path).returncode == code
