"""When to look at a run again (docs: budgets, "Following").

Polls and delay trade against each other, and only the spread of the durations decides how well. The
schedule is the exact optimum for what was learnt: the ends of a group's runs (same assistant and
model), and the ages of those that still run, which are as telling. All ages are seconds since a
run's creation.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

KEPT = 500
GRID = 48
BISECTIONS = 12
ENOUGH = 3
"""Ends before anything is planned."""

FIRST_LOOK = 0.25
SHORTEST_END = 0.02
SHORTEST_LOOK = 0.002
STREAK = 8
"""Runs found ended at their first look, in a row, that make the next first look come sooner."""

STAMPED_FROM = 10.0
"""Below this the server's own stamps, which are whole seconds, say less than our looks."""

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

    `stamped` is completed_at - created_at where the server gave both.
    """
    if stamped is not None and stamped >= STAMPED_FROM:
        return stamped
    return max(SHORTEST_END, (alive + found) / 2)


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
        while due <= 1.02 * age:
            due = min(1.25 * due, due + LONGEST_STEP)
            if due == due + LONGEST_STEP:
                break
    return max(age, due * (0.99 + 0.02 * jitter))


def plan(ends: Sequence[float], alive: Sequence[float], polls: float) -> tuple[float, ...]:
    """Return the ages to look at: least mean of delay / duration for so many polls a run.

    `ends` are durations above 0, `alive` the ages at which runs still under way were seen last.
    """
    weighted = _survival(ends[-KEPT:], alive[-KEPT:])
    grid = _grid(weighted)
    costs = _Costs.of(weighted, grid)
    low, high = 1e-6, 1e4
    best = costs.schedule(low)
    for _ in range(BISECTIONS + 6):
        lam = (low * high) ** 0.5
        marks = costs.schedule(lam)
        if costs.polls(marks) <= polls:
            high, best = lam, marks
        else:
            low = lam
    return tuple(grid[k] for k in best)
