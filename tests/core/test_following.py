"""When to look at a run: the plan is the optimum, and soon learnt."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.following import (
    EARLIEST_LOOK,
    FIRST_LOOK,
    SHORTEST_LOOK,
    Learned,
    end_of,
    is_late,
    next_age,
    plan,
    polls_a_run,
    scouting_age,
)


def followed(ages: tuple[float, ...], durations: list[float]) -> tuple[float, float]:
    """Return polls a run and the mean of delay / duration, when such runs are followed so."""
    polls, delay = 0, 0.0
    for duration in durations:
        age = 0.0
        while age < duration:
            age = next_age(ages, age, 0.5)
            polls += 1
        delay += age / duration - 1
    return polls / len(durations), delay / len(durations)


def lognormal(sigma: float, n: int, seed: int, median: float = 20.0) -> list[float]:
    rng = Random(seed)
    return [median * rng.lognormvariate(0, sigma) for _ in range(n)]


@pytest.mark.parametrize(("sigma", "delay"), [(0.3, 0.18), (0.4, 0.23), (0.6, 0.37), (1.0, 0.78)])
def test_a_plan_of_two_and_a_half_polls_delays_by_what_the_spread_makes_it(
    sigma: float, delay: float
) -> None:
    ages = plan(lognormal(sigma, 500, 1), [], 2.5)
    polls, mean = followed(ages, lognormal(sigma, 3000, 2))
    assert polls <= 2.65
    assert mean <= delay


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.02, 1e5), min_size=1, max_size=60),
    st.lists(st.floats(0.02, 1e5), max_size=60),
    st.floats(1.1, 6),
)
def test_a_plan_rises_strictly_and_ends_behind_all_that_is_known(
    ends: list[float], alive: list[float], polls: float
) -> None:
    ages = plan(ends, alive, polls)
    assert all(a < b for a, b in pairwise(ages))
    assert ages[-1] >= max(ends)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1, 1000), min_size=3, max_size=200), st.floats(1.1, 6))
def test_a_plan_keeps_its_polls_on_its_own_sample(ends: list[float], polls: float) -> None:
    ages = plan(ends, [], polls)
    made = sum(1 + sum(age < end for age in ages[:-1]) for end in ends) / len(ends)
    assert made <= polls + 1e-6


def test_survivors_are_counted_and_looks_come_later_for_them() -> None:
    ends = [5.0, 6.0, 7.0]
    alone, among = plan(ends, [], 2.5), plan(ends, [30.0] * 60, 2.5)
    assert alone[-1] < 8
    assert among[-1] > 60


def test_the_next_look_is_the_first_scheduled_one_that_is_not_now() -> None:
    ages = (10.0, 20.0, 40.0)
    assert next_age(ages, 0.0, 0.5) == 10.0
    assert next_age(ages, 9.9, 0.5) == 20.0
    assert next_age(ages, 40.0, 0.5) == 50.0
    assert next_age(ages, 10_000.0, 0.5) == 10_600.0
    assert next_age(ages, 0.0, 0.0) == pytest.approx(9.9)


def test_scouts_look_at_a_quarter_second_and_then_ever_later() -> None:
    assert scouting_age(0.0, 0.0) == FIRST_LOOK
    assert scouting_age(1.0, 0.0) == 1.4
    assert scouting_age(0.0, 10.0) == pytest.approx(11.0)


def test_the_first_runs_of_all_are_looked_at_sooner_once() -> None:
    nothing = Learned()
    assert nothing.next_look(0.0, 0.5) == EARLIEST_LOOK
    alive = nothing.seen_alive(EARLIEST_LOOK)
    assert alive.next_look(EARLIEST_LOOK, 0.5) == FIRST_LOOK
    assert alive.next_look(0.0, 0.5) == FIRST_LOOK


def test_the_polls_wanted_are_bounded_by_the_reads() -> None:
    assert polls_a_run(2.5, None, 200) == 2.5
    assert polls_a_run(2.5, 300, 200) == pytest.approx(1.2)
    assert polls_a_run(4.0, 100, 200) == 1.1


def test_stamps_are_believed_from_ten_seconds_on() -> None:
    assert end_of(8.0, 14.0, 12.0) == 12.0
    assert end_of(1.0, 2.0, 1.0) == 1.5
    assert end_of(0.0, 0.001) == 0.02


def test_a_short_stamp_bounds_what_the_looks_say() -> None:
    assert end_of(0.0, 75.0, 0.0) == 0.5
    assert end_of(0.0, 75.0, 3.0) == 3.0
    assert end_of(0.0, 5.2, 5.0) == pytest.approx(4.6)
    assert end_of(4.0, 5.2, 0.0) == pytest.approx(4.6), "the stamps contradict the looks"


@given(st.floats(0.02, 9), st.floats(0, 1), st.floats(0, 50), st.floats(0, 50))
def test_what_is_learnt_of_a_stamped_run_is_within_a_second(
    duration: float, start: float, before: float, after: float
) -> None:
    stamped = float(int(start + duration) - int(start))
    learnt = end_of(max(0.0, duration - before), duration + after, stamped)
    assert abs(learnt - duration) <= 1 + 1e-9


def test_a_look_is_late_when_nobody_looked_for_long() -> None:
    assert is_late(0.0, 75.0)
    assert is_late(30.0, 75.0)
    assert not is_late(40.0, 75.0)
    assert not is_late(0.03, 0.8), "a busy loop is not a pause"


def test_runs_found_ended_after_a_pause_teach_no_more_than_their_stamps() -> None:
    after = Learned()
    for _ in range(60):
        after = after.ended(0.0, 3600.0, late=True)
    assert after == Learned()
    for _ in range(60):
        after = after.ended(0.0, 3600.0, 1.0, late=True)
    assert after.planned((), 2.5).next_look(0.0, 0.5) < 3


def learnt(durations: list[float], polls: float = 2.5) -> tuple[Learned, float, float]:
    """Follow runs one after the other; return polls and delay of the last half."""
    known, made, delay = Learned(), 0, 0.0
    for place, duration in enumerate(durations):
        age, alive = 0.0, 0.0
        while True:
            age = known.next_look(age, 0.5)
            made += place >= len(durations) // 2
            if age >= duration:
                break
            known, alive = known.seen_alive(age), age
        delay += (age - duration) if place >= len(durations) // 2 else 0
        known = known.ended(alive, age, round(duration) if duration > 20 else None)
        if known.wants_plan:
            known = known.planned([], polls)
    half = len(durations) - len(durations) // 2
    return known, made / half, delay / half


def test_the_newest_ends_are_planned_with_before_they_join_the_others() -> None:
    known = Learned()
    for _ in range(5):
        known = known.ended(4.9, 5.1)
    assert known.planned([], 2.5).ages == pytest.approx((5.025,))


def test_runs_of_a_millisecond_are_soon_looked_at_at_once() -> None:
    known, polls, delay = learnt([0.001] * 120)
    assert known.next_look(0.0, 0.5) < 1.5 * SHORTEST_LOOK
    assert polls == 1.0
    assert delay < 0.002


def test_runs_of_a_fifth_of_a_second_are_not_polled_in_vain() -> None:
    rng = Random(3)
    _, polls, delay = learnt([rng.uniform(0.19, 0.21) for _ in range(400)])
    assert polls < 2.6
    assert delay < 0.06


def test_known_durations_are_followed_as_planned() -> None:
    _, polls, delay = learnt(lognormal(0.3, 600, 5, median=60.0))
    assert polls == pytest.approx(2.4, abs=0.15)
    assert delay / 60 < 0.15


def test_a_plan_is_wanted_after_three_ends_and_then_ever_less_often() -> None:
    known = Learned()
    planned_at = []
    for _ in range(600):
        known = known.ended(10.0, 12.0)
        if known.wants_plan:
            known = known.planned([], 2.5)
            planned_at.append(known.n)
    assert planned_at[:3] == [3, 6, 9]
    assert 45 <= planned_at[-1] - planned_at[-2] <= 60
    assert len(known.ends) == 500
