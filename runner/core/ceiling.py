"""How many runs may be in flight (docs: budgets, "Runs in flight").

Little's law is the forecast, not the control: the ceiling grows by what ends well and falls to what
was in flight when the server said no. `--concurrency` caps it. Very short runs double it within a
few of their lengths, so slow start costs them next to nothing.
"""

from collections.abc import Sequence
from enum import Enum, auto

from msgspec import Struct
from msgspec.structs import replace

FIRST = 4.0
CUT = 0.8
LONGEST_GATE = 5.0
RUN_FAILED_GATE = 1.0


class Sign(Enum):
    """What tells that too much is in flight."""

    REFUSED = auto()
    """A create refused for concurrency (`refusals.kind_of_429`)."""

    OVERLOADED = auto()
    """503 or 529."""


class Ended(Struct, frozen=True):
    """A run ended well, or badly for a reason of its own."""


class Full(Struct, frozen=True):
    """The server said no to one more, with so many in flight; `chance` in [0, 1)."""

    sign: Sign
    in_flight: int
    now: float
    chance: float


class RunRefused(Struct, frozen=True):
    """A run that was created at `created` ended failed, rate_limit_exceeded."""

    created: float
    now: float


Event = Ended | Full | RunRefused


class Ceiling(Struct, frozen=True):
    """`c` runs at once, and what moves it.

    `starting` until the first sign, `in_row` signs without an end between, `quiet` ends since the
    last change, `growth` how much the next quiet time adds, `cut_at` the last cut, `closed_until`
    the gate for creates that a sign closes.
    """

    c: float = FIRST
    starting: bool = True
    in_row: int = 0
    quiet: int = 0
    growth: int = 1
    cut_at: float = 0.0
    closed_until: float = 0.0

    def limit(self, concurrency: int) -> int:
        """Return how many runs may be in flight, at least one."""
        return max(1, min(int(self.c), concurrency))


def after(state: Ceiling, event: Event) -> Ceiling:
    """Return the ceiling after an event."""
    match event:
        case Ended():
            return _ended(state)
        case Full() if event.now < state.closed_until:
            # Sent before the gate closed: one burst is one sign, and shows how many were admitted.
            return replace(state, c=max(1.0, min(state.c, event.in_flight)))
        case Full():
            in_row = state.in_row + 1
            c = event.in_flight * (1.0 if in_row == 1 else CUT)
            gate = min(LONGEST_GATE, 0.2 * 2 ** min(in_row - 1, 10)) * (1 + 0.5 * event.chance)
            return _cut(state, min(state.c, c), event.now, gate, in_row)
        case RunRefused():
            if event.created < state.cut_at:
                return state  # it was on its way before the cut
            return _cut(state, CUT * state.c, event.now, RUN_FAILED_GATE, state.in_row)


def _ended(state: Ceiling) -> Ceiling:
    if state.starting:
        return replace(state, c=state.c + 1, in_row=0)
    # A ceiling of a few is probed seldom: at +1 every few ends 6 % of the creates were refused.
    first = state.growth == 1
    need = max(60.0, 5 * state.c) if first else max(15.0, 2 * state.c)
    if state.quiet + 1 < need:
        return replace(state, quiet=state.quiet + 1, in_row=0)
    more = max(1.0, min(state.growth, state.c / 4))
    return replace(state, c=state.c + more, quiet=0, growth=2 * state.growth, in_row=0)


def _cut(state: Ceiling, c: float, now: float, gate: float, in_row: int) -> Ceiling:
    return replace(
        state,
        c=max(1.0, c),
        starting=False,
        in_row=in_row,
        quiet=0,
        growth=1,
        cut_at=now,
        closed_until=max(state.closed_until, now + gate),
    )


def part_of(concurrency: int, others: Sequence[int]) -> int:
    """Return how many of the runs that all may have in flight a worker may have, at least one.

    `others` are the places that each other worker with work of its own takes, at the same account.
    The parts are even; one that comes new waits until the others have come down to theirs.
    """
    if not others:
        return concurrency
    return max(1, min(concurrency // (len(others) + 1), concurrency - sum(others)))
