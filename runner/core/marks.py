"""Counting our own calls in a window without keeping each of them.

`seq` of a budget's row counts the permits ever granted, by whatever process. A mark remembers when
it stood where; between two marks slots are even, so the count is interpolated.
"""

from bisect import bisect_right
from itertools import pairwise

from msgspec import Struct

KEPT = 160
USUAL_GAP = 1 / 6
"""Seconds between marks while no window is known: a sixtieth of ten."""


class Mark(Struct, frozen=True):
    """At `at` so many permits had been used; `refused` of those from here to the next mark were."""

    at: float
    seq: float
    refused: int = 0


Marks = tuple[Mark, ...]


def noted(marks: Marks, at: float, seq: int, window: float | None) -> Marks:
    """Return the marks with one more, if enough time has passed since the last.

    `seq` counts from 0: the permit's own place. A known window keeps a mark for each sixtieth of it
    and drops those older than two; an unknown one keeps all, ever coarser.
    """
    used = seq + 1
    gap = USUAL_GAP if window is None else window / 60
    if marks and (at < marks[-1].at + gap or used <= marks[-1].seq):
        return marks
    if window is not None:
        old = bisect_right(marks, at - 2 * window, key=lambda mark: mark.at)
        marks = marks[max(0, old - 1) :]
    if len(marks) >= KEPT:
        marks = tuple(
            Mark(mark.at, mark.seq, mark.refused + after.refused)
            for mark, after in zip(marks[::2], marks[1::2], strict=False)
        )
    return (*marks, Mark(at, used))


def refused(marks: Marks, at: float) -> Marks:
    """Return the marks with one of our calls taken out: the server did not count it."""
    place = max(0, bisect_right(marks, at, key=lambda mark: mark.at) - 1)
    if not marks:
        return marks
    mark = marks[place]
    return (*marks[:place], Mark(mark.at, mark.seq, mark.refused + 1), *marks[place + 1 :])


def used_at(marks: Marks, at: float) -> float:
    """Return how many permits had been used by `at`, interpolated."""
    place = bisect_right(marks, at, key=lambda mark: mark.at)
    if place == 0:
        # Nothing is known before the first mark: as if the permits before it were older.
        return marks[0].seq - 1 if marks else 0.0
    before = marks[place - 1]
    if place == len(marks):
        return before.seq
    after = marks[place]
    return before.seq + (after.seq - before.seq) * (at - before.at) / (after.at - before.at)


def refused_since(marks: Marks, at: float) -> int:
    """Return how many of our calls from `at` on were refused."""
    return sum(mark.refused for mark in marks if mark.at >= at)


def own(marks: Marks, at: float, used: float, window: float) -> float:
    """Return how many of our calls stand in the window that ends at `at`, where `used` had gone."""
    return max(0.0, used - used_at(marks, at - window) - refused_since(marks, at - window))


def reached(marks: Marks, used: float) -> float:
    """Return when the permits used came to `used`: the inverse of `used_at`."""
    for before, after in pairwise(marks):
        if after.seq >= used:
            part = (used - before.seq) / (after.seq - before.seq)
            return before.at + max(0.0, part) * (after.at - before.at)
    return marks[-1].at if marks else 0.0
