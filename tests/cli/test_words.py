"""Figures and other people's texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli.words import columns, jobs, moment, pace, shown, span


@given(st.text(), st.integers(min_value=4, max_value=80))
def test_a_foreign_text_stays_on_its_line_and_moves_no_cursor(text: str, longest: int) -> None:
    line = shown(text, longest)
    assert line.isprintable()
    assert len(line) <= longest


def test_an_escape_sequence_loses_its_escape() -> None:
    assert shown("a\x1b[2Jb\r\nc") == "a?[2Jb c"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (213, "3 min 33 s"),
        (3600, "1 h"),
        (18_720, "5 h 12 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_time_is_told_in_two_units_at_most(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_a_rate_is_by_the_second_or_by_the_minute() -> None:
    assert (pace(41.23), pace(0.5), pace(1234.5)) == ("41.2/s", "30.0/min", "1,234.5/s")


def test_a_moment_is_utc_and_never_is_a_dash() -> None:
    assert (moment(1_772_330_645_999), moment(0)) == ("2026-03-01 02:04:05Z", "-")


def test_one_job_is_no_jobs() -> None:
    assert (jobs(1), jobs(2000)) == ("1 job", "2,000 jobs")


def test_columns_stand_under_each_other_without_blanks_at_the_end() -> None:
    rows = [("a", "bbb"), ("ccc", "d")]
    assert columns(rows, right=frozenset({0})) == ["  a  bbb", "ccc  d"]
