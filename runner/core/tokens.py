"""Tokens a minute: reserve what is likely, correct by usage (docs: budgets, "Tokens").

A window of a rolling log holds up to one job too many whatever the spacing, so a little of the
limit is left. Jobs are served first in, first out: where small ones may pass, a big one starves.
"""

from collections.abc import Sequence

from msgspec import Struct

RECENT = 200
UNCAPPED_COMPLETION = 1000
CHARACTERS_A_TOKEN = 4
USED = 0.98
USED_AFTER_REFUSAL = 0.95
BIG = 0.1
"""A job above this part of the window needs quiet before it as well."""


class Reservation(Struct, frozen=True):
    """Where a job stands on a tokens row: its slot, and the first free slot behind it."""

    slot: float
    tat: float


def likely(
    characters: int, max_prompt: int | None = None, max_completion: int | None = None
) -> float:
    """Return the tokens that a request speaks of itself: its caps where it has both, else its text."""
    if max_prompt is not None and max_completion is not None:
        return max(1.0, max_prompt + max_completion)
    return max(1.0, characters / CHARACTERS_A_TOKEN + (max_completion or UNCAPPED_COMPLETION))


def estimate(likely_tokens: float, history: Sequence[float]) -> float:
    """Return the tokens to reserve for a job.

    `history` holds, of ended runs of the same assistant and model, usage.total as a part of what
    was likely of each. A mean of totals reserves too little for a big job among small ones, which
    is then refused each time; of a job like the others both say the same. At most what is likely
    where caps say so: history above 1 means that texts, not caps, were counted.
    """
    recent = history[-RECENT:]
    part = sum(recent) / len(recent) if recent else 1.0
    return max(1.0, part * likely_tokens)


def usable(limit: float, *, refused: bool) -> float:
    """Return B', the tokens of a window that are spent; less once a 429 came below the limit."""
    return limit * (USED_AFTER_REFUSAL if refused else USED)


def token_step(limit: float, window: float, *, refused: bool = False) -> float:
    """Return the seconds that one token takes."""
    return window / max(usable(limit, refused=refused), 1e-9)


def too_big(tokens: float, limit: float, *, refused: bool = False) -> bool:
    """Whether a job is larger than a whole window: told at `check`; it goes alone, as `alone`."""
    return tokens > usable(limit, refused=refused)


def alone(tokens: float, limit: float, *, refused: bool = False) -> float:
    """Return what a job reserves at most: a whole window."""
    return min(tokens, usable(limit, refused=refused))


def reserve(first: float, tokens: float, step: float, limit: float) -> Reservation:
    """Return a job's place from the first free slot on.

    A big job pays its quiet before and after: without the quiet before, two jobs of 0.9 of the
    budget stood in one window (1.85 of it).
    """
    big = tokens > BIG * usable(limit, refused=False)
    slot = first + (tokens * step if big else 0.0)
    return Reservation(slot, slot + tokens * step)


def correction(tokens: float, used: int | None, step: float, age: float, window: float) -> float:
    """Return the seconds to add to `tat` when a run's usage is known, `age` after it was reserved.

    No usage: the reservation stands. Older than the window: nobody counts it any more. usage's
    total holds cached and reasoning tokens already.
    """
    if used is None or age >= window:
        return 0.0
    return (used - tokens) * step
