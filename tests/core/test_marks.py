"""Counting our own calls in a window, by marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.marks import KEPT, Marks, noted, own, reached, refused


def even(n: int, step: float, window: float | None) -> Marks:
    marks: Marks = ()
    for k in range(n):
        marks = noted(marks, k * step, k, window)
    return marks


@given(st.integers(50, 3000), st.floats(0.01, 0.5))
def test_even_calls_are_counted_to_within_two(n: int, step: float) -> None:
    marks = even(n, step, 10.0)
    last = (n - 1) * step
    true = sum(k * step > last - 10 for k in range(n))
    assert own(marks, last, n, 10.0) == pytest.approx(true, abs=2.5)
    assert len(marks) <= KEPT


def test_refused_calls_are_not_ours_at_the_server() -> None:
    marks = even(100, 0.05, 10.0)
    assert own(refused(marks, 3.0), 4.95, 100, 10.0) == own(marks, 4.95, 100, 10.0) - 1


def test_an_unknown_window_keeps_all_ever_coarser() -> None:
    marks = even(20_000, 0.1, None)
    assert len(marks) <= KEPT
    assert marks[0].at == 0.0
    assert own(marks, 1999.9, 20_000, 1000.0) == pytest.approx(10_000, rel=0.01)


def test_the_time_of_a_count_is_the_inverse_of_the_count() -> None:
    marks = even(400, 0.05, 10.0)
    assert reached(marks, 301) == pytest.approx(15.0, abs=0.06)
