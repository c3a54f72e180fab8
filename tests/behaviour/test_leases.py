"""Several workers on one database: who is slow keeps its jobs."""

import json

from behaviour.stage import Stage
from forked import PIPE, Forked


def test_runs_longer_than_a_lease_change_no_hands(stage: Stage) -> None:
    lease_s, slow = 1.0, "slow:2.2"
    # A batch each, so that both hold jobs the whole time; each sees the other's lease.
    theirs = stage.manifest(stage.lines(6, "theirs", fate=slow), "theirs.jsonl")
    waits = {"doubt_wait": 1.0, "stale_wait": 0.5, "lease": lease_s}
    out = stage.folder / "theirs.out.jsonl"
    words = ["-", "1", str(stage.settings["db"]), str(out), stage.server.url, theirs]
    child = Forked("crash.child", *words, json.dumps(waits), stderr=PIPE)
    try:
        ours = stage.run(stage.lines(6, "ours", fate=slow), lease=lease_s)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
    told = said + " ".join(stage.warnings)
    assert (ours.exit_code, child.returncode) == (0, 0), told
    assert "taken over" not in told
    assert stage.seen("create_requests") == len(stage.runs()) == 12
    rows = [*stage.rows(), *map(json.loads, out.read_text("utf-8").splitlines())]
    assert {row["attempts"] for row in rows} == {1}
    assert {row["run_id"] for row in rows} == set(stage.runs())
