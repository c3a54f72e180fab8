"""However a run's end is heard of, it lets more runs be in flight."""

import pytest
from behaviour.stage import Line, Stage
from ways import by_this_process
from wires import WIRES

JOBS = 120


@by_this_process
@pytest.mark.parametrize("way", ["polls", "streams", "answers"])
def test_runs_that_end_well_raise_the_ceiling(stage: Stage, way: str) -> None:
    lines: list[Line] = stage.lines(JOBS)
    dialect = "openai"
    if way == "answers":
        # The answer to the one exchange is the run's end: nothing is ever read.
        dialect = "request"
        (wire,) = (wire for wire in WIRES if wire.dialect == dialect)
        lines = [wire.line(f"job-{i}", {}, None) for i in range(JOBS)]
    carried = stage.run(lines, dialect=dialect, stream=way == "streams", concurrency=60)
    assert carried.exit_code == 0, stage.warnings
    assert max(view.ceiling or 0 for view in stage.views) == 60
