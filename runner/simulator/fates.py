"""How a run ends: drawn by share, or told by the run's own metadata so that a manifest can show it.

The metadata key `fate` holds NAME or NAME:N. For the ends that a second run may mend (`failed`,
`expired`, `incomplete`, `rate_limit_exceeded`, …) N is how many runs of the same case end so; for
`requires_action` it is the number of rounds, and a second number the calls a round; for `slow`
it is the run's life in seconds.
"""

from dataclasses import dataclass
from random import Random

ENDS: frozenset[str] = frozenset({
    "completed",
    "failed",
    "invalid_prompt",
    "rate_limit_exceeded",
    "incomplete",
    "content_filter",
    "expired",
    "cancelled",
    "requires_action",
    "refused",
    "stuck",
})  # fmt: skip

STATUS_OF = {
    "invalid_prompt": "failed",
    "rate_limit_exceeded": "failed",
    "content_filter": "incomplete",
}

LAST_ERROR = {
    "failed": ("server_error", "Sorry, something went wrong."),
    "invalid_prompt": ("invalid_prompt", "The prompt was refused."),
    # The wait stands in prose only, as danny-avila/LibreChat#6728 saw it.
    "rate_limit_exceeded": (
        "rate_limit_exceeded",
        "Rate limit is exceeded. Try again in 2 seconds.",
    ),
}

INCOMPLETE_REASON = {"incomplete": "max_completion_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Fate:
    """What a run will do: its `end`, tool rounds before it, calls a round, and its life if told."""

    end: str = "completed"
    rounds: int = 0
    calls: int = 1
    life_s: float | None = None
    times: int = 0  # how many runs of the case end so; 0: all


COMPLETED = Fate()


def told(text: str) -> Fate | None:
    """Read a `fate` from metadata; None if it is none of ours: the key may be the user's own."""
    name, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        return None
    if name == "slow" and len(values) == 1 and values[0] >= 0:
        return Fate(life_s=min(values[0], 1e9))
    if name not in ENDS or len(values) > 2 or any(not 0 < value < 1000 for value in values):
        return None
    if name == "requires_action":
        rounds, calls = [int(value) for value in values] + [1, 1][len(values) :]
        return Fate(rounds=rounds, calls=calls)
    return Fate(end=name, times=int(values[0]) if values else 0)


def drawn(shares: dict[str, float], rng: Random) -> Fate:
    """Draw a fate; what the shares leave over ends as completed."""
    if not shares:
        return COMPLETED
    roll = rng.random()
    for name, share in shares.items():
        if roll < share:
            return Fate(rounds=1) if name == "requires_action" else Fate(end=name)
        roll -= share
    return COMPLETED
