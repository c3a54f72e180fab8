"""Slots keep the law whatever processes, crashes and clocks do."""

from dataclasses import dataclass
from itertools import pairwise
from random import Random

from core.budget_world import Row, fullest_of
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.budget import known
from runner.core.pacing import (
    Lease,
    Look,
    Repair,
    Wait,
    clamp_s,
    horizon_s,
    initial_spread,
    jumped,
    late,
    lateness_allowed,
    next_move,
    slice_s,
    slots,
    spacing,
    spread_of,
)

EPSILON = 1e-6


@dataclass(frozen=True)
class Turn:
    """One process looks, and maybe leases, after so long; before it the clock may have jumped."""

    process: int
    after: float
    ready: int
    jump: float


turns = st.lists(
    st.builds(
        Turn,
        process=st.integers(0, 3),
        after=st.floats(0, 1.5),
        ready=st.integers(0, 40),
        jump=st.sampled_from([0.0] * 12 + [3600.0, -3600.0, 0.7, -0.7]),
    ),
    max_size=60,
)
limits = st.tuples(st.integers(1, 300), st.sampled_from([1.0, 10.0, 60.0]))


def leased(schedule: list[Turn], limit: int, window: float, processes: int = 4) -> list[float]:
    """Return the real instants of all slots. A look and its lease take no time.

    The clock is set again only when the slots of the time before are past: two settings within a
    second or two are one more than a hold covers.
    """
    row = Row(known(limit, window))
    real, ahead = 0.0, 1000.0
    seen: dict[int, float] = {}
    settled = 0.0
    out: list[float] = []
    for turn in schedule:
        real += turn.after
        if turn.jump and real >= settled:
            ahead += turn.jump
            settled = real + clamp_s(processes, row.budget.step)
        now = real + ahead
        moved = jumped(ahead, seen.get(turn.process, 1000.0), 0.0)
        move = next_move(row.look(now), turn.ready, processes=processes, jumped=moved, chance=0.5)
        if not isinstance(move, Lease):
            continue
        seen[turn.process] = ahead
        if move.hold:
            settled = real + clamp_s(processes, row.budget.step)
        got = row.lease(now, move)
        if got is not None:
            out += slots(got[0] - ahead, row.budget.step, move.permits)
    return sorted(out)


@settings(max_examples=80, deadline=None)
@given(turns, limits)
def test_slots_stand_apart_under_any_leases_and_jumps_of_the_clock(
    schedule: list[Turn], limit: tuple[int, float]
) -> None:
    instants = leased(schedule, *limit)
    step = known(*limit).step
    gaps = [b - a for a, b in pairwise(instants)]
    assert all(gap >= step - EPSILON for gap in gaps)


@settings(max_examples=80, deadline=None)
@given(turns, limits, st.randoms(use_true_random=False), st.floats(0, 1))
def test_no_window_holds_more_than_the_limit_with_any_delay_within_the_spread(
    schedule: list[Turn], limit: tuple[int, float], rng: Random, lost: float
) -> None:
    instants = leased(schedule, *limit)
    spread = initial_spread(limit[1])
    kept = [at + spread * rng.random() for at in instants if rng.random() >= lost / 2]
    assert fullest_of(kept, limit[1] - EPSILON) <= limit[0]


@settings(max_examples=100, deadline=None)
@given(turns, limits)
def test_the_next_free_slot_is_never_further_than_the_horizon_and_one_lease(
    schedule: list[Turn], limit: tuple[int, float]
) -> None:
    row = Row(known(*limit))
    now = 1000.0
    for turn in schedule:
        now += turn.after
        move = next_move(row.look(now), turn.ready, processes=4, jumped=False, chance=0.5)
        if isinstance(move, Lease):
            row.lease(now, move)
            bound = now + horizon_s(4) + move.permits * row.budget.step
            assert row.tat <= bound + EPSILON


def look(
    tat: float = 100.0, step: float = 0.05, closed_until: float = 0.0, closed_for: float = 0.0
) -> Look:
    return Look(tat, closed_until, closed_for, version=1, db_now=100.0, step=step)


def test_a_lease_takes_one_slice_and_no_more_than_is_ready() -> None:
    assert next_move(look(), 100, processes=4, jumped=False, chance=0.0) == Lease(
        5, 0.0, 0.5, clamp_s(4, 0.05)
    )
    one = next_move(look(step=3.0), 100, processes=4, jumped=False, chance=0.0)
    assert isinstance(one, Lease)
    assert one.permits == 1
    few = next_move(look(), 2, processes=4, jumped=False, chance=0.0)
    assert isinstance(few, Lease)
    assert few.permits == 2


def test_nothing_is_leased_for_nobody() -> None:
    assert next_move(look(), 0, processes=1, jumped=False, chance=0.0) == Wait(slice_s(1))


def test_too_far_ahead_is_waited_for_without_a_write() -> None:
    move = next_move(look(tat=101.0), 9, processes=4, jumped=False, chance=0.0)
    assert move == Wait(0.5)


def test_a_closed_gate_is_looked_at_every_slice() -> None:
    shut = look(closed_until=130.0, closed_for=30.0)
    assert next_move(shut, 9, processes=4, jumped=False, chance=0.9) == Wait(0.25)


def test_a_clock_set_back_under_a_gate_is_repaired() -> None:
    shut = look(closed_until=3730.0, closed_for=30.0)
    assert next_move(shut, 9, processes=4, jumped=False, chance=0.9) == Repair(130.0)


def test_a_jump_is_told_from_a_slow_look() -> None:
    assert jumped(5.0, 3605.0, 0.001)
    assert not jumped(5.0, 5.2, 0.3)


def test_a_missed_slot_is_given_up() -> None:
    assert not late(10.0, 10.09, lateness_allowed(0.05))
    assert late(10.0, 10.11, lateness_allowed(0.05))


def test_the_spread_is_that_of_the_delay_and_not_the_delay() -> None:
    slow = [0.5 + 0.0001 * k for k in range(200)]
    assert spread_of(slow, 10.0) == 1.25 * (slow[-1] - slow[0])
    assert spread_of(slow[:50], 10.0) == initial_spread(10.0) == 0.05
    assert spread_of([0.0] * 500 + [3.0] * 500, 10.0) == 0.12


def test_the_spacing_pays_for_the_spread() -> None:
    assert spacing(200, 10.0, 0.1) == 10.1 / 200
