"""How long something takes: fixed, uniform or log-normal, drawn from a seeded generator."""

import math
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of seconds: `kind` is fixed, uniform or lognormal.

    fixed: `first` seconds. uniform: `first`..`second` seconds. lognormal: median `first` seconds,
    sigma `second` of the underlying normal distribution.
    """

    kind: str
    first: float
    second: float = 0.0

    def draw(self, rng: Random) -> float:
        """Return one duration in seconds, never negative."""
        if self.kind == "uniform":
            return rng.uniform(self.first, self.second)
        if self.kind == "lognormal":
            return self.first * math.exp(rng.gauss(0.0, self.second))
        return self.first


def spread(text: str) -> Spread:
    """Read `1.5`, `fixed:1.5`, `uniform:0.5:2` or `lognormal:MEDIAN:SIGMA`; else ValueError."""
    kind, *numbers = text.split(":")
    if not numbers:
        kind, numbers = "fixed", [kind]
    wanted = {"fixed": 1, "uniform": 2, "lognormal": 2}.get(kind)
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    if wanted != len(values) or not all(0 <= value < math.inf for value in values):
        raise ValueError(
            f"{text[:60]!r} is no duration;"
            " write seconds, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA"
        )
    if kind == "uniform" and values[0] > values[1]:
        raise ValueError(f"{text[:60]!r}: the low end is above the high end")
    return Spread(kind, *values)
