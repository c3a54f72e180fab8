"""The doubt wait that lateness calls for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.lateness import raised_wait_s

seconds = st.floats(0, 1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("wait_s", "late_s", "raised"), [(60, 0, 60), (60, 30, 60), (60, 31, 93), (60, 100, 300)]
)
def test_more_than_half_of_the_wait_raises_it_to_three_times_the_lateness(
    wait_s: float, late_s: float, raised: float
) -> None:
    assert raised_wait_s(wait_s, late_s) == raised


@given(seconds, seconds)
def test_the_wait_never_shrinks_and_is_at_least_twice_the_lateness(
    wait: float, late: float
) -> None:
    raised = raised_wait_s(wait, late)
    assert raised >= wait
    assert raised >= 2 * late
