"""When to look at a run again (docs: budgets, "Following").

Polls and delay trade against each other, and only the spread of the durations decides how well. The
schedule is the exact optimum for what was learnt: the ends of a group's runs (same assistant and
model), and the ages of those that still run, which are as telling. All ages are seconds since a
run's creation.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from msgspec import Struct
from msgspec.structs import replace

KEPT = 500
NEWEST = 24
"""As many are kept apart before they join the 500."""
GRID = 48
BISECTIONS = 16
ENOUGH = 3
"""Ends before anything is planned."""

FIRST_LOOK = 0.25
EARLIEST_LOOK = 0.03
"""The first look of the first runs of all: one in vain tells that they live for longer."""
SHORTEST_END = 0.02
SHORTEST_LOOK = 0.002
STREAK = 8
"""Runs found ended at their first look, in a row, that make the next first look come sooner."""

STAMPED_FROM = 10.0
"""From here on the server's own stamps are a run's duration; below they only bound it."""
STAMP_ERROR = 1.0
"""Stamps are whole seconds: their difference is off by less than one, either way."""

TAIL = ((1.15, 0.25), (1.4, 0.25), (1.8, 0.25), (2.5, 0.25))
"""Where the runs that outlive everything known are expected: times the greatest age, and share."""

LONGEST_STEP = 600.0


def polls_a_run(wanted: float, reads_per_minute: float | None, creates_per_minute: float) -> float:
    """Return K: the polls a run that are wanted, or as many as the reads allow; at least 1.1."""
    if reads_per_minute is None or creates_per_minute <= 0:
        return max(1.1, wanted)
    return max(1.1, min(wanted, 0.8 * reads_per_minute / creates_per_minute))


def end_of(alive: float, found: float, stamped: float | None = None) -> float:
    """Return a run's duration: last seen alive at one age, found ended at another.

    `stamped` is completed_at - created_at where the server gave both. A short one is a bound on
    either side of what our looks say, unless the two contradict each other.
    """
    if stamped is not None:
        if stamped >= STAMPED_FROM:
            return stamped
        low, high = max(alive, stamped - STAMP_ERROR), min(found, stamped + STAMP_ERROR)
        if low <= high:
            alive, found = low, high
    return max(SHORTEST_END, (alive + found) / 2)


def is_late(due: float, asked: float) -> bool:
    """Whether a look due at one age and made at another came late since nobody looked.

    A frozen or killed worker, a server that was away: such a look says nothing of when the run
    ended. A queue for the reads' limit makes looks late too, but never for long by this measure:
    the looks that find runs alive put the next ones off.
    """
    return asked > 2 * due + 1.0


def scouting_age(age: float, oldest_alive: float, first: float = FIRST_LOOK) -> float:
    """Return the next age to look at before three ends are known, from the last (0: none yet)."""
    return max(first, 1.4 * age, 1.1 * oldest_alive)


def next_age(ages: Sequence[float], age: float, jitter: float) -> float:
    """Return when a run of this age is looked at next; `jitter` in [0, 1) spreads it by 1 %.

    Behind the schedule's end the gaps grow by a quarter, by ten minutes at most.
    """
    place = bisect_right(ages, 1.02 * age)
    if place < len(ages):
        due = ages[place]
    else:
        due = max(age, ages[-1] if ages else FIRST_LOOK)
        due = min(1.25 * due, due + LONGEST_STEP)
    return max(age, due * (0.99 + 0.02 * jitter))


def plan(ends: Sequence[float], alive: Sequence[float], polls: float) -> tuple[float, ...]:
    """Return the ages to look at: least mean of delay / duration for at most so many polls a run.

    `ends` are durations above 0, at least one; `alive` the ages at which runs still under way were
    seen last. Without these survivors the plan is too early by what is still running.
    """
    points = _survival(ends[-KEPT:], alive[-KEPT:])
    costs = _Costs.of(points, _grid(points))
    cheap, dear = 1e-6, 1e4  # what a poll may cost in units of delay / duration
    best = costs.schedule(dear)
    for _ in range(BISECTIONS):
        price = (cheap * dear) ** 0.5
        marks = costs.schedule(price)
        if costs.polls(marks) <= polls:
            dear, best = price, marks
        else:
            cheap = price
    return tuple(costs.grid[k] for k in costs.filled(best, polls))


class Learned(Struct, frozen=True):
    """What a group of runs has taught; replaced at each event, kept by the process that follows.

    `ends` the last durations but for the `newest` few (so that an end copies few), `n` how many
    there ever were, `oldest` the greatest age at which a run was seen alive, `ages` the schedule,
    made when there were `planned_at` ends. `first` is the latest first look, `streak` how many runs
    in a row had ended by it, `outlived` an age at which such an early look found a run alive.

    Deviation from budgets.md 4.2, for runs that end at once: the first of all are looked at once
    before the quarter second that the others get until something is known. And the plan knows of a
    run that had ended by its first look only that, and takes the middle: where `STREAK` runs in a
    row had ended by their first look (before anything is planned: one) and no stamp says when, the
    first look is halved, down to 2 ms; else runs of a millisecond would be held for as long as the
    first scouts. A run found alive by it ends the halving, and the plan holds again.
    """

    ends: tuple[float, ...] = ()
    n: int = 0
    newest: tuple[float, ...] = ()
    oldest: float = 0.0
    ages: tuple[float, ...] = ()
    planned_at: int = 0
    first: float = EARLIEST_LOOK
    streak: int = 0
    outlived: float = 0.0

    @property
    def wants_plan(self) -> bool:
        """Whether enough has ended since the last plan.

        A plan costs some 5 ms: at thousands of ends a second one each 50 would fill a core, so the
        gap grows on until all 500 durations are new ones.
        """
        return self.n - self.planned_at >= max(ENOUGH, min(KEPT, self.n // 10))

    def ended(
        self, alive: float, found: float, stamped: float | None = None, *, late: bool = False
    ) -> "Learned":
        """Return the record after a run seen alive at one age (0: never) was found ended.

        A look that came late (`is_late`) teaches only what the server's stamps say.
        """
        if late and stamped is None:
            return self
        end = end_of(alive, found, stamped)
        ends, newest = self.ends, (*self.newest, end)
        if len(newest) > NEWEST:
            ends, newest = (*ends, *newest)[-KEPT:], ()
        first, streak = self.first, self.streak
        halved = max(SHORTEST_LOOK, self.outlived, found / 2)
        if alive > 0 or end == stamped:
            streak = 0
        elif halved < 0.75 * min(first, found):
            if self.ages and streak + 1 < STREAK:
                streak += 1
            else:
                first, streak = min(first, halved), 0
        return replace(self, ends=ends, newest=newest, n=self.n + 1, first=first, streak=streak)

    def seen_alive(self, age: float) -> "Learned":
        """Return the record after a run was found under way at an age."""
        early = age <= 1.05 * self.first
        return replace(
            self,
            oldest=max(self.oldest, age),
            streak=0,
            first=max(self.first, FIRST_LOOK) if early else self.first,
            outlived=max(self.outlived, age) if early else self.outlived,
        )

    def planned(self, alive: Sequence[float], polls: float) -> "Learned":
        """Return the record with a new schedule; `alive` are the runs under way now."""
        return replace(
            self,
            ages=plan((*self.ends, *self.newest), alive, polls),
            planned_at=self.n,
            outlived=self.outlived / 2,
        )

    def next_look(self, age: float, jitter: float) -> float:
        """Return the age at which a run of this age (0: not looked at yet) is looked at next."""
        if not self.ages:
            return scouting_age(age, self.oldest, self.first)
        due = next_age(self.ages, age, jitter)
        return min(due, self.first) if age == 0 and self.first < FIRST_LOOK else due


Points = Sequence[tuple[float, float]]
"""Durations, ascending, each with its weight; the weights sum to 1."""


def _survival(ends: Sequence[float], alive: Sequence[float]) -> Points:
    """Return the ends with Kaplan-Meier weights; what outlives them all is spread behind."""
    known = sorted([(age, 0) for age in ends] + [(age, 1) for age in alive])
    left, points = 1.0, list[tuple[float, float]]()
    for place, (age, censored) in enumerate(known):
        if not censored:
            weight = left / (len(known) - place)
            points.append((age, weight))
            left -= weight
    greatest = known[-1][0]
    if left > 1e-9:
        points += [(times * greatest, share * left) for times, share in TAIL]
    return points


def _grid(points: Points) -> list[float]:
    """Return the ages that a look may have: quantiles, a hair behind the ends they stand for."""
    marks, reached, wanted = list[float](), 0.0, 1 / GRID
    for age, weight in points:
        reached += weight
        if reached >= wanted - 1e-9:
            if not marks or 1.005 * age > marks[-1]:
                marks.append(1.005 * age)
            wanted = (int(reached * GRID + 1e-6) + 1) / GRID
    if points[-1][0] > marks[-1]:
        marks.append(1.005 * points[-1][0])
    return marks


class _Costs(Struct, frozen=True):
    """Prefix sums over the grid: weight, and weight / duration, of what ended before each mark.

    Both begin with 0, so that `ended[j]` is what ended before the mark j.
    """

    grid: list[float]
    ended: list[float]
    inverse: list[float]

    @classmethod
    def of(cls, points: Points, grid: list[float]) -> "_Costs":
        ages = [age for age, _ in points]
        weights = [0.0, *accumulate(weight for _, weight in points)]
        inverses = [0.0, *accumulate(weight / age for age, weight in points)]
        cuts = [0, *(bisect_right(ages, mark) for mark in grid)]
        return cls(grid, [weights[cut] for cut in cuts], [inverses[cut] for cut in cuts])

    def schedule(self, price: float) -> list[int]:
        """Return the marks of the cheapest schedule: delay / duration, plus `price` a poll."""
        grid, ended, inverse = self.grid, self.ended, self.inverse
        m = len(grid)
        value, choice = [0.0] * (m + 1), [0] * m
        # To look first at k costs grid[k] * inverse[k+1] - ended[k+1] + value[k+1], and what had
        # ended before j is taken out again: grid[k] * inverse[j] - ended[j].
        ahead = [0.0] * m
        for j in range(m - 1, -1, -1):
            ahead[j] = grid[j] * inverse[j + 1] - ended[j + 1] + value[j + 1]
            gone = inverse[j]
            least, best = ahead[j] - grid[j] * gone, j
            for k in range(j + 1, m):
                cost = ahead[k] - grid[k] * gone
                if cost < least:
                    least, best = cost, k
            value[j] = price * (1 - ended[j]) + least + ended[j]
            choice[j] = best
        marks, j = list[int](), 0
        while j < m:
            marks.append(choice[j])
            j = choice[j] + 1
        return marks

    def polls(self, marks: Sequence[int]) -> float:
        """Return the expected polls a run: each is made by the runs alive after the one before."""
        before = [0, *(k + 1 for k in marks[:-1])]
        return sum(1 - self.ended[j] for j in before)

    def delay(self, marks: Sequence[int]) -> float:
        """Return the expected delay / duration."""
        total, before = 0.0, 0
        for k in marks:
            ended = self.ended[k + 1] - self.ended[before]
            total += self.grid[k] * (self.inverse[k + 1] - self.inverse[before]) - ended
            before = k + 1
        return total

    def filled(self, marks: list[int], polls: float) -> list[int]:
        """Return the marks with more between them while the polls allow it.

        One price gives only some numbers of polls, and the next below may be far (2.0 of 2.5).
        """
        while self.polls(marks) < 0.97 * polls:
            more = [sorted({*marks, k}) for k in range(len(self.grid)) if k not in marks]
            fitting = [longer for longer in more if self.polls(longer) <= polls]
            best = min(fitting, key=self.delay, default=marks)
            if self.delay(best) >= self.delay(marks) - 1e-6:
                return marks
            marks = best
        return marks
