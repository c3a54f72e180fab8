"""Learning how many tokens a server admits, from headers or from the text of a refusal.

The row is a `Budget` whose `lim` counts tokens and whose `step` is the seconds that one takes; a
limit that the user gave is not overruled. Tokens that others use show as refusals alone: what is
left in the headers moves with every answer of ours that is still under way.
"""

from msgspec.structs import replace

from runner.core.budget import Budget, Source
from runner.core.learning import KEPT_ANSWERS, MINUTE, OPENING_CALLS
from runner.core.limits import Limits, Seen, window_of
from runner.core.tokens import token_step


def given(limit: float, window: float) -> Budget:
    """Return the row of a limit that the user gave: tokens in any `window` seconds."""
    return Budget(token_step(limit, window), limit, window, Source.FLAG)


def heard(row: Budget, at: float, limits: Limits) -> Budget:
    """Return the row after an answer at `at` (seconds, any clock) that told the tokens' limit."""
    if row.source is Source.FLAG or (limits.limit == row.lim and row.win is not None):
        return row
    memory = row.memory
    if row.win is not None and row.lim is not None:
        return paced(replace(row, lim=limits.limit))
    first = at if memory.first_at is None else memory.first_at
    seen = (*memory.seen, Seen(at, limits.limit - limits.remaining, limits.reset or 0.0))
    calls = memory.calls + 1
    memory = replace(memory, first_at=first, seen=seen[-KEPT_ANSWERS:], calls=calls)
    meaning = window_of(memory.seen, limits.limit, first)
    window = meaning.window if meaning else MINUTE if calls >= OPENING_CALLS else None
    row = replace(row, memory=memory)
    if window is None:
        return row
    return paced(replace(row, lim=limits.limit, win=window, source=Source.HEADER))


def refused(row: Budget, said: float | None, window: float) -> Budget:
    """Return the row after a 429 about tokens, whose text may have `said` the limit a window.

    A little more of the limit is left from then on.
    """
    memory = replace(row.memory, strict=row.memory.strict + 1)
    if said and row.source is None:
        row = replace(row, lim=said, win=window, source=Source.HEADER)
    return paced(replace(row, memory=memory))


def paced(row: Budget) -> Budget:
    """Return the row with its step made from its limit and window."""
    if row.lim is None or row.win is None:
        return row
    return replace(row, step=token_step(row.lim, row.win, refused=row.memory.strict > 0))
