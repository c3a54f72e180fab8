"""Runs in flight: how far it grows, what cuts it, who gets what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.ceiling import Ceiling, Ended, Full, RunRefused, Sign, after, part_of


def ended(state: Ceiling, times: int) -> Ceiling:
    for _ in range(times):
        state = after(state, Ended())
    return state


def full(in_flight: int, now: float = 100.0) -> Full:
    return Full(Sign.REFUSED, in_flight, now, 0.0)


def test_slow_start_doubles_in_one_duration() -> None:
    state = Ceiling()
    for expected in (8, 16, 32):
        state = ended(state, int(state.c))
        assert state.c == expected
    assert state.limit(20) == 20


def test_a_refusal_sets_the_ceiling_to_what_was_in_flight() -> None:
    state = after(ended(Ceiling(), 60), full(40))
    assert state.c == 40
    assert state.closed_until == pytest.approx(100.2)
    again = after(state, full(40, 101.0))
    assert again.c == pytest.approx(32)
    assert again.closed_until == pytest.approx(101.4)


def test_quiet_raises_it_by_one_then_two_then_four() -> None:
    state = after(ended(Ceiling(), 60), full(20))
    grown = ended(state, 100)
    assert grown.c == 21
    assert ended(grown, 42).c == 23
    assert after(ended(grown, 42), full(21, 130.0)).growth == 1


def test_a_run_that_failed_cuts_once_for_all_that_were_on_their_way() -> None:
    state = ended(Ceiling(), 36)
    cut = after(state, RunRefused(created=5.0, now=10.0))
    assert cut.c == pytest.approx(32)
    assert after(cut, RunRefused(created=9.0, now=11.0)) == cut
    assert after(cut, RunRefused(created=10.5, now=12.0)).c < cut.c


events = st.one_of(
    st.just(Ended()),
    st.builds(
        Full, st.sampled_from(Sign), st.integers(0, 500), st.floats(0, 1e6), st.floats(0, 0.999)
    ),
    st.builds(RunRefused, st.floats(0, 1e6), st.floats(0, 1e6)),
)


@given(st.lists(events, max_size=80), st.integers(1, 300))
def test_the_ceiling_admits_one_and_never_passes_the_setting(
    happened: list[Ended | Full | RunRefused], concurrency: int
) -> None:
    state = Ceiling()
    for event in happened:
        state = after(state, event)
        assert 1 <= state.limit(concurrency) <= concurrency


@given(st.integers(1, 500), st.lists(st.integers(0, 300), max_size=20))
def test_a_part_is_at_least_one_and_leaves_the_others_what_they_have(
    concurrency: int, others: list[int]
) -> None:
    part = part_of(concurrency, others)
    assert 1 <= part <= concurrency
    assert part == 1 or part + sum(others) <= concurrency
    # Once everybody is down to a part, all the parts together are within the setting.
    even = part_of(concurrency, [0] * len(others))
    assert even == 1 or even * (len(others) + 1) <= concurrency


def test_a_worker_alone_has_all_places_and_one_that_comes_waits_for_its_own() -> None:
    assert part_of(200, []) == 200
    assert part_of(200, [200]) == 1
    assert part_of(200, [140]) == 60
    assert part_of(200, [90]) == 100
    assert part_of(2, [1, 1, 1]) == 1


def test_refusals_of_one_burst_are_one_sign_and_find_what_was_admitted() -> None:
    state = Ceiling(c=20.0)
    for in_flight in range(19, 5, -1):
        state = after(state, Full(Sign.REFUSED, in_flight, 100.0, 0.0))
    assert (state.c, state.in_row) == (6.0, 1)
    assert state.closed_until < 101
