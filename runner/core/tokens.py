"""Tokens a minute: reserve the mean, correct by usage (docs: budgets, "Tokens").

A window of a rolling log holds up to one job too many whatever the spacing, so a little of the
limit is left. Jobs are served first in, first out: where small ones may pass, a big one starves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

RECENT = 200
UNCAPPED_COMPLETION = 1000
CHARACTERS_A_TOKEN = 4
USED = 0.98
USED_AFTER_REFUSAL = 0.95
BIG = 0.1
"""A job above this part of the window needs quiet before it as well."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Where a job stands on a tokens row: its slot, and the first free slot behind it."""

    slot: float
    tat: float


def estimate(
    characters: int,
    history: Sequence[int],
    max_prompt: int | None = None,
    max_completion: int | None = None,
) -> float:
    """Return the tokens to reserve for a job.

    `history` holds usage.total of ended runs of the same assistant and model. A cap bounds the
    estimate only where prompt and completion both have one; without history the text must do.
    """
    recent = history[-RECENT:]
    if recent:
        guess = sum(recent) / len(recent)
    else:
        guess = characters / CHARACTERS_A_TOKEN + (max_completion or UNCAPPED_COMPLETION)
    if max_prompt is None or max_completion is None:
        return max(1.0, guess)
    return max(1.0, min(guess, max_prompt + max_completion))


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
