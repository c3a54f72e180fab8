"""A limit that shows only in runs that fail with rate_limit_exceeded (docs: budgets, 2.6).

No create is refused; a run costs whole tokens before it fails. So the rate climbs gently to just
below the last one that failed.
"""

from msgspec.structs import replace

from runner.core.budget import USUAL_WINDOW, Budget, RunFailed, Source, closed, paced
from runner.core.marks import refused_since, used_at
from runner.core.pacing import initial_spread

CUT = 0.8
LONGEST_GATE = 60.0


def run_failed(row: Budget, event: RunFailed) -> Budget:
    """Return the row after such a run: one cut, however many of the runs before it fail too."""
    if row.source not in {None, Source.SEARCH} or event.slot < row.cut_at:
        return row
    memory = row.memory
    if row.lim is None:
        # Nothing paced so far: the rate is what went out while the run was on its way.
        span = max(2.0, event.at - event.slot)
        since = max(event.at - span, memory.first_at or 0.0)
        sent = used_at(memory.marks, event.at) - used_at(memory.marks, since)
        rate = max(1.0, sent - refused_since(memory.marks, since)) / max(1.0, event.at - since)
    else:
        rate = row.lim / USUAL_WINDOW
    text = min(LONGEST_GATE, event.wait or 0.0)
    cut = paced(
        replace(
            row,
            lim=max(0.1, CUT * rate * USUAL_WINDOW),
            win=USUAL_WINDOW,
            spread=initial_spread(USUAL_WINDOW),
            source=Source.SEARCH,
            memory=replace(
                memory,
                ceiling=rate * USUAL_WINDOW,
                grown_at=event.at,
                quiet_s=max(USUAL_WINDOW, 2 * event.duration),
            ),
        )
    )
    return closed(cut, event.at, max(3.0, event.duration / 2, text), 0.0)


def search_grown(row: Budget, slot: float) -> Budget:
    """Return the row a little faster after a quiet time."""
    memory = row.memory
    if row.lim is None or slot < row.cut_at or slot - memory.grown_at < memory.quiet_s:
        return row
    factor = 1.05 if row.lim < 0.95 * memory.ceiling else 1.02
    return paced(replace(row, lim=factor * row.lim, memory=replace(memory, grown_at=slot)))
