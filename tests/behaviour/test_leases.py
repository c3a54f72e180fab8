"""Several workers on one database: who is slow keeps its jobs."""

import json
import subprocess
import sys
from pathlib import Path

from behaviour.stage import Stage

CHILD = Path(__file__).parents[1] / "crash" / "child.py"


def test_runs_longer_than_a_lease_change_no_hands(stage: Stage) -> None:
    lease_s = 1.5
    manifest = stage.manifest(stage.lines(12, fate=f"slow:{2 * lease_s}"))
    # Each must leave some for the other, or only one of them works.
    more = json.dumps({"doubt_wait": 1.0, "stale_wait": 0.5, "lease": lease_s, "concurrency": 6})
    out = str(stage.folder / "child.jsonl")
    child = subprocess.Popen(
        [sys.executable, str(CHILD), "-", "1", str(stage.folder / "r.db"), out]
        + [stage.server.url, manifest, more],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        carried = stage.run(
            stage.lines(12, fate=f"slow:{2 * lease_s}"), lease=lease_s, concurrency=6
        )
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (carried.exit_code, child.returncode) == (0, 0), (stage.warnings, said)
    stage.check_once_each(12)
    assert stage.seen("create_requests") == 12
    assert {row["attempts"] for row in stage.rows()} == {1}
    assert "taken over" not in said + " ".join(stage.warnings)
