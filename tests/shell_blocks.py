"""The shell blocks of a README, run as they stand there.

A command whose comment says `# exit N` must end with N, every other one with 0.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"^(.*\S)\s+# exit (\d+)\b.*$", re.MULTILINE)


def blocks(readme: Path) -> list[str]:
    """Return the text of each block fenced as `sh`."""
    return _BLOCK.findall(readme.read_text("utf-8"))


def script(block: str) -> str:
    """Return a block as a script that stops where an exit code differs from what its comment says.

    What it ends with then is 90, or the command's own code.
    """
    checked = _EXIT.sub(
        r"{ \1; } && got=0 || got=$?; [ $got -eq \2 ] || exit $((got ? got : 90))", block
    )
    return f"set -eu\n{checked}"


def run(
    block: str, folder: Path, *, limit_s: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a block in a folder, with this Python's `runner` and nobody's settings."""
    return subprocess.run(
        ["/bin/bash", "-c", script(block)],
        cwd=folder,
        env={**environment(), **variables},
        text=True,
        check=False,
        capture_output=True,
        timeout=limit_s,
    )


def environment() -> Mapping[str, str]:
    """Return an environment in which `runner` is this Python's, and no setting is given."""
    mine = os.environ  # noqa: TID251 - the child's environment
    kept = {name: mine[name] for name in ("HOME", "LANG", "TMPDIR") if name in mine}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
