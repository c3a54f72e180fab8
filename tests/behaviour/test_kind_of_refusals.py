"""Which limit a 429 is about is told from what the creates met, not from the words of the server."""

from behaviour.stage import Stage
from ways import PROCESSES

ACTIVE = 6
LIFE_S = 0.3


def test_refusals_of_one_more_at_once_lower_the_ceiling_and_not_the_rate(stage: Stage) -> None:
    # Its text speaks of requests, and no header tells which limit it is.
    stage.server.set(
        max_active=ACTIVE, limit_headers="none", vague_429=True, duration=f"fixed:{LIFE_S}"
    )
    carried = stage.run(stage.lines(50), concurrency=40)
    stage.server.set(max_active=0)
    assert carried.exit_code == 0, stage.warnings
    stage.check_once_each(50)
    if PROCESSES < 2:
        ceilings = [view.ceiling or 0 for view in stage.views]
        assert ACTIVE // 2 <= ceilings[-1] <= 2 * ACTIVE < max(ceilings), ceilings[-1]
    with stage.runner() as runner:
        (progress,) = runner.status()
    creates = next(use for use in progress.budgets if use.kind == "creates")
    # What so many runs of that length let through: no lower rate holds them back.
    assert creates.limit is None or creates.limit / (creates.window_s or 1) > ACTIVE / LIFE_S
