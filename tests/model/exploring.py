"""Breadth first through a model: shortest traces, and whether every state can come to rest."""

from collections import deque
from dataclasses import dataclass

from model.protocol_model import FAULTS, Model, Move, Setting, State, told


@dataclass(frozen=True)
class Explored:
    """What was found: a broken promise and the shortest trace to it, or "" and how many states."""

    states: int
    wrong: str = ""
    trace: tuple[str, ...] = ()


STUCK = "a job that can never come to rest"


def explore(setting: Setting, *, ends: bool = True) -> Explored:
    """Go through every state of a setting, until a promise is broken.

    `ends`: also ask whether a path without further faults leads from each state to rest.
    """
    model = Model(setting)
    start = model.start()
    number = {start: 0}
    came: list[tuple[int, Move]] = [(-1, ("", -1, -1))]
    before: list[list[int]] = [[]]
    rests: list[int] = []
    queue: deque[State] = deque([start])
    at = -1
    while queue:
        state = queue.popleft()
        at += 1
        if model.at_rest(state):
            rests.append(at)
        for move, after in model.steps(state):
            place = number.get(after)
            if place is None:
                place = number[after] = len(came)
                came.append((at, move))
                before.append([])
                wrong = model.broken(after)
                if wrong:
                    return Explored(len(came), wrong, _trace(came, place))
                queue.append(after)
            if ends and move[0] not in FAULTS:
                before[place].append(at)
    if ends:
        stuck = _stuck(before, rests)
        if stuck is not None:
            return Explored(len(came), STUCK, _trace(came, stuck))
    return Explored(len(came))


def _stuck(before: list[list[int]], rests: list[int]) -> int | None:
    """Return the first state, in order of depth, from which no rest is reached."""
    good = bytearray(len(before))
    left = list(rests)
    for place in rests:
        good[place] = 1
    while left:
        for place in before[left.pop()]:
            if not good[place]:
                good[place] = 1
                left.append(place)
    found = good.find(0)
    return None if found < 0 else found


def _trace(came: list[tuple[int, Move]], place: int) -> tuple[str, ...]:
    names: list[str] = []
    while place > 0:
        place, move = came[place]
        names.append(told(move))
    return tuple(reversed(names))
