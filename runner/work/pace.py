"""When the runs of one lane are asked for: what `core.following` learned of those that ended.

Before three ends are known a few scouts go ahead; then the ages to look at are planned anew every
few dozen ends. Runs that are over at their very first look, one after another, bring the next first
looks forward: else runs of a few milliseconds would be held up by the plan's own granularity.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from runner.core.following import (
    ENOUGH,
    FIRST_LOOK,
    KEPT,
    SHORTEST_LOOK,
    STREAK,
    end_of,
    next_age,
    plan,
    scouting_age,
)


@dataclass(slots=True)
class Pace:
    """What one lane's runs have shown. Seconds of age; `polls` is how many a run may cost."""

    polls: float
    rng: Random
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    alives: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    ages: tuple[float, ...] = ()
    oldest: float = 0.0
    first: float = FIRST_LOOK
    streak: int = 0
    counted: int = 0
    plan_at: int = ENOUGH

    def first_age(self) -> float:
        """Return the age at which a new run is first asked for."""
        if not self.ages:
            return scouting_age(0.0, self.oldest, self.first)
        planned = next_age(self.ages, 0.0, self.rng.random())
        return min(planned, self.first) if self.first < FIRST_LOOK else planned

    def next_age(self, age_s: float) -> float:
        """Return the age of the next question to a run that was alive at `age_s`."""
        if self.ages:
            return next_age(self.ages, age_s, self.rng.random())
        return max(scouting_age(age_s, self.oldest, self.first), age_s + SHORTEST_LOOK)

    def alive(self, age_s: float, *, first_look: bool) -> None:
        """Note a run that was still alive at this age."""
        self.oldest = max(self.oldest, age_s)
        self.alives.append(age_s)
        if first_look:
            self.streak = 0
            self.first = min(FIRST_LOOK, self.first * 1.5)

    def ended(self, age_s: float, alive_s: float, told_s: float, *, first_look: bool) -> None:
        """Note a run found ended at `age_s`, last seen alive at `alive_s`; `told_s` by the API."""
        self.ends.append(end_of(alive_s, age_s, told_s or None))
        self.counted += 1
        if first_look:
            self.streak += 1
            if self.streak >= STREAK:
                self.streak = 0
                self.first = max(SHORTEST_LOOK, self.first / 2)
        if self.counted >= self.plan_at:
            # A plan costs some milliseconds: seldom for many ends, and for runs shorter than that.
            most = 50 if self.first >= FIRST_LOOK else 2000
            self.plan_at = self.counted + max(ENOUGH, min(most, self.counted // 4))
            self.ages = plan(tuple(self.ends), tuple(self.alives), self.polls)
