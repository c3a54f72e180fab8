"""When the runs of one lane are asked for: what `core.following` learned of those that ended."""

from collections import deque
from random import Random

from msgspec import Struct, field

from runner.core.following import KEPT, SHORTEST_LOOK, Learned


class Pace(Struct):
    """What one lane's runs have shown. Seconds of age; `polls` is how many a run may cost."""

    polls: float
    rng: Random
    learned: Learned = field(default_factory=Learned)
    alives: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    def first_age(self) -> float:
        """Return the age at which a new run is first asked for."""
        return self.learned.next_look(0.0, self.rng.random())

    def next_age(self, age_s: float) -> float:
        """Return the age of the next question to a run that was alive at `age_s`."""
        return max(self.learned.next_look(age_s, self.rng.random()), age_s + SHORTEST_LOOK)

    def alive(self, age_s: float) -> None:
        """Note a run that was still alive at this age."""
        self.alives.append(age_s)
        self.learned = self.learned.seen_alive(age_s)

    def ended(self, age_s: float, alive_s: float, told_s: float | None, *, late: bool) -> None:
        """Note a run found ended at `age_s`, last seen alive at `alive_s`; `told_s` by the API."""
        self.learned = self.learned.ended(alive_s, age_s, told_s, late=late)
        if self.learned.wants_plan:
            self.learned = self.learned.planned(tuple(self.alives), self.polls)
