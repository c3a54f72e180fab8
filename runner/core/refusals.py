"""Which kind of limit a 429 is about: calls in a window, or runs at once (docs: budgets, 2.5)."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

ENOUGH = 3
LOOKED_AT = 50


class Met(Struct, frozen=True):
    """What a create met, with so many runs in flight and so many own calls in the window."""

    admitted: bool
    in_flight: int
    own: float


def kind_of_429(answers: Sequence[Met]) -> Literal["rate", "concurrency"] | None:
    """Return what the refusals among the last 50 answers follow, or None while that is undecided.

    For each number the threshold is taken that tells admitted from refused with the fewest errors;
    fewer errors wins. Undecided: obey both, cap the runs in flight and cut the rate.
    """
    recent = answers[-LOOKED_AT:]
    if sum(not met.admitted for met in recent) < ENOUGH:
        return None
    rate = _errors([(met.own, met.admitted) for met in recent])
    flight = _errors([(float(met.in_flight), met.admitted) for met in recent])
    if rate == flight:
        return None
    return "rate" if rate < flight else "concurrency"


def _errors(pairs: Sequence[tuple[float, bool]]) -> int:
    """Return the errors of the best threshold: below it all admitted, from it on all refused."""
    ordered = sorted(pairs)
    errors = sum(admitted for _, admitted in ordered)
    least = errors
    for place, (value, admitted) in enumerate(ordered):
        errors += -1 if admitted else 1
        if place + 1 == len(ordered) or ordered[place + 1][0] > value:
            least = min(least, errors)
    return least
