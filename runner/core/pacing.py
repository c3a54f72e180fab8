"""Slots: when each permit of a known limit may be used (docs: budgets, "Pacing a known limit").

The whole promise is one sentence: slots at least T = (W + d) / L apart, each call arriving within
[0, d] after its slot, never put more than L calls into any half-open window of W. One row of the
database holds `tat`, the first free slot; processes lease a few slots at a time, a fraction of a
second ahead. Times are seconds on the database's clock, which every process shares.
"""

from collections.abc import Sequence
from math import ceil

from msgspec import Struct

SAMPLE = 100
"""Fewer measured displacements than this say nothing about the 99.9th percentile."""


def initial_spread(window: float) -> float:
    """Return the jitter allowance in seconds until the network was measured."""
    return min(0.2, 0.005 * window)


def spread_of(displaced: Sequence[float], window: float) -> float:
    """Return the jitter allowance in seconds, from how long after its slot each call was answered.

    Pass the last 1000. What counts is the spread of the delay, never the delay. A server that works
    inside the POST makes it look large, so at most 1.2 % of the window is spent on it.
    """
    if len(displaced) < SAMPLE:
        return initial_spread(window)
    ordered = sorted(displaced)
    spread = ordered[ceil(0.999 * len(ordered)) - 1] - ordered[0]
    return min(max(1.25 * spread, 0.02, 0.002 * window), 0.012 * window)


def spacing(limit: float, window: float, spread: float) -> float:
    """Return T, the seconds between two slots."""
    return (window + spread) / max(limit, 1e-9)


def slots(first: float, step: float, n: int) -> tuple[float, ...]:
    """Return the instants of n leased permits."""
    return tuple(first + k * step for k in range(n))


def lateness_allowed(spread: float) -> float:
    """Return X, the seconds after which a missed slot is given up and not caught up."""
    return max(spread / 2, 0.1)


def late(slot: float, now: float, x: float) -> bool:
    """Whether a permit must be given up: sent now it would stand in a later slot's way."""
    return now > slot + x


def slice_s(processes: int) -> float:
    """Return S, how many seconds' worth of permits one lease takes."""
    if processes <= 1:
        return 0.1
    return 0.25 if processes <= 8 else 0.5


def horizon_s(processes: int) -> float:
    """Return H, how far ahead permits are leased; a crash of everybody loses at most H + S."""
    return 2 * slice_s(processes)


def hold_s(processes: int, step: float) -> float:
    """Return how far behind now to begin when the clock was set: behind all slots already out."""
    return horizon_s(processes) + step + slice_s(processes)


def clamp_s(processes: int, step: float, token_window: float | None = None) -> float:
    """Return how far ahead `tat` may stand before the database's clock must have been set back.

    It stands at most a hold, a horizon and one lease ahead; nearer, the tat that a hold has made
    was itself taken for a clock set back, and slots were given twice (found by hypothesis; the
    tables of budgets.md have less). A second of slack: PostgreSQL reads its clock before it waits
    for the row's lock. A large job's quiet may take two windows on a tokens row: pass its window.
    """
    lease = slice_s(processes) + step if token_window is None else 2 * token_window
    return hold_s(processes, step) + horizon_s(processes) + lease + 1.0


def jumped(offset: float, offset_before: float, round_trip: float) -> bool:
    """Whether the database's clock was set: `offset` is its time less our monotonic time.

    `offset_before` is the one of the last lease (before any: of the first look). A look that leased
    nothing must not forget the jump: the hold is still owed.
    """
    return abs(offset - offset_before) > 0.05 + round_trip


class Look(Struct, frozen=True):
    """What one cheap SELECT shows of a budget's row."""

    tat: float
    closed_until: float
    closed_for: float
    version: int
    db_now: float
    step: float


class Lease(Struct, frozen=True):
    """Run the lease statement with these: permits, and seconds from the database's now."""

    permits: int
    hold: float
    horizon: float
    clamp: float


class Wait(Struct, frozen=True):
    """Look again after so many seconds; nothing is written while refused."""

    seconds: float


class Repair(Struct, frozen=True):
    """The clock was set back under a closed gate: rewrite `closed_until`, then look again."""

    closed_until: float


def next_move(
    look: Look,
    ready: int,
    *,
    processes: int,
    jumped: bool,
    chance: float,
    token_window: float | None = None,
) -> Lease | Wait | Repair:
    """Decide what a process does after a look.

    `ready` is how many jobs (or tokens) could go now, `jumped` whether the clock was set since the
    look before, `chance` a fresh number in [0, 1) that keeps processes from looking in step.
    """
    ahead, part = horizon_s(processes), slice_s(processes)
    clamp = clamp_s(processes, look.step, token_window)
    if look.closed_until > look.db_now + look.closed_for + 2.0:
        return Repair(look.db_now + look.closed_for)
    if ready < 1:
        return Wait(part)
    permits = ready
    if token_window is None:
        permits = min(ready, max(1, ceil(part / look.step)))
    if jumped or look.tat > look.db_now + clamp:
        # Slots that were leased before the jump reach as far as this: start behind them all.
        return Lease(permits, hold_s(processes, look.step), ahead, clamp)
    free = max(look.tat, look.closed_until)
    if free <= look.db_now + ahead:
        return Lease(permits, 0.0, ahead, clamp)
    seconds = free - look.db_now - ahead + chance * part
    # A closed gate may be opened early or moved by others, so it is looked at every slice.
    closed = look.closed_until > look.db_now
    return Wait(min(seconds, part) if closed else seconds)
