"""Tokens: what is reserved, and what usage corrects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.tokens import (
    alone,
    correction,
    estimate,
    likely,
    reserve,
    token_step,
    too_big,
    usable,
)


def test_a_request_speaks_by_its_caps_or_by_its_text() -> None:
    assert likely(400) == 1100
    assert likely(400, max_completion=50) == 150
    assert likely(400, max_prompt=100, max_completion=200) == 300
    assert likely(400, max_prompt=100) == 1100


def test_history_tells_which_part_of_what_is_likely_is_used() -> None:
    assert estimate(1100, []) == 1100
    assert estimate(1000, [0.5, 0.7]) == pytest.approx(600)
    assert estimate(9000, [0.5, 0.7]) == pytest.approx(5400)
    assert estimate(1, [0.1]) == 1


def test_a_token_429_below_the_limit_leaves_more() -> None:
    assert token_step(90_000, 60.0) == pytest.approx(60 / 88_200)
    assert token_step(90_000, 60.0, refused=True) == pytest.approx(60 / 85_500)


def test_a_big_job_has_quiet_before_it_and_behind() -> None:
    step = token_step(1000, 60.0)
    small, big = reserve(5.0, 90, step, 1000), reserve(5.0, 500, step, 1000)
    assert (small.slot, small.tat) == (5.0, 5.0 + 90 * step)
    assert (big.slot, big.tat) == (5.0 + 500 * step, 5.0 + 1000 * step)


def test_a_job_larger_than_the_window_is_told_and_takes_all_of_it() -> None:
    assert too_big(2000, 1000)
    assert not too_big(970, 1000)
    assert alone(2000, 1000) == usable(1000, refused=False)


def test_usage_corrects_while_the_window_counts_it() -> None:
    assert correction(800, 500, 0.01, 3.0, 60.0) == pytest.approx(-3.0)
    assert correction(800, None, 0.01, 3.0, 60.0) == 0.0
    assert correction(800, 500, 0.01, 61.0, 60.0) == 0.0


@given(st.lists(st.floats(1, 98), min_size=2, max_size=200))
def test_two_windows_never_hold_more_than_the_limit_and_one_small_job(jobs: list[float]) -> None:
    """First in, first out; a window holds what it may and one job more (the last one in it)."""
    step, tat = token_step(1000, 60.0), 0.0
    stood: list[tuple[float, float]] = []
    for tokens in jobs:
        place = reserve(tat, tokens, step, 1000)
        stood.append((place.slot, tokens))
        tat = place.tat
    for slot, _ in stood:
        held = [tokens for at, tokens in stood if slot <= at < slot + 60]
        assert sum(held) <= 980 + max(held) + 1e-6
