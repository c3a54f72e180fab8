"""What a refusal asks for, in every spelling that was seen, and in none."""

from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.waits import (
    Closure,
    backoff,
    closure_of,
    duration,
    gate_until,
    reset_of,
    said,
    wait_of,
)

NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("headers", "text", "expected"),
    [
        ({"retry-after": "2"}, "", 2.0),
        ({"retry-after": "1.5"}, "", 1.5),
        ({"retry-after-ms": "500"}, "", 0.5),
        ({"retry-after-ms": "500", "retry-after": "9"}, "", 0.5),
        ({"retry-after-ms": "0", "retry-after": "9"}, "", 9.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:03 GMT"}, "", 3.0),
        (
            {
                "retry-after": "Fri, 01 Jan 2038 00:00:09 GMT",
                "date": "Fri, 01 Jan 2038 00:00:04 GMT",
            },
            "",
            5.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, "", None),
        ({"retry-after": "-1"}, "", None),
        ({"retry-after": "0"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "inf"}, "", None),
        ({"retry-after": "1e5"}, "", None),
        ({"retry-after": "abc"}, "", None),
        ({"retry-after": "9999999999"}, "", 9999999999.0),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"},
            "",
            360.0,
        ),
        (
            {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"},
            "",
            None,
        ),
        ({}, "Rate limit reached. Please try again in 6m0s.", 360.0),
        ({}, "Try again in 60 seconds.", 60.0),
        ({}, "Please retry after 86400 seconds.", 86400.0),
        ({}, "please try again in 20ms", 0.02),
        ({}, "Please try again in 1.5s. Visit our page", 1.5),
        ({}, "try again in 5 minutes", 300.0),
        ({}, "you may try again in a minute", None),
        ({}, "", None),
    ],
)
def test_the_wait_is_read_where_it_stands(
    headers: dict[str, str], text: str, expected: float | None
) -> None:
    assert wait_of(headers, text, NOW) == pytest.approx(expected)


NAMES = [
    "retry-after",
    "retry-after-ms",
    "date",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
]
spelt = st.one_of(
    st.text(max_size=80),
    st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")),
    st.floats().map(str),
    st.integers().map(str),
    st.from_regex(r"([0-9]{1,30}(\.[0-9]*)?(h|ms|us|ns|m|s))+", fullmatch=True),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.sampled_from(["Thu, 01 Jan 0000 00:00:00 GMT", "9999-12-31T23:59:59-23:59", "0", "-0"]),
)


@given(st.dictionaries(st.sampled_from(NAMES), spelt), st.text(max_size=200), st.floats())
def test_a_wait_is_none_or_finite_and_above_zero_for_anything(
    headers: dict[str, str], text: str, now: float
) -> None:
    wait = wait_of(headers, text, now)
    assert wait is None or (isfinite(wait) and wait > 0)


def test_a_wait_is_finite_whatever_the_clock() -> None:
    told = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert wait_of(told, "", float("-inf")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("23h47m36.648s", 85656.648),
        ("1.5", 1.5),
        ("", None),
        ("s", None),
        ("-3s", None),
        ("3 parsecs", None),
    ],
)
def test_a_duration_is_read_as_go_prints_it(text: str, expected: float | None) -> None:
    assert duration(text) == pytest.approx(expected)


def test_a_reset_may_be_a_date_or_an_epoch() -> None:
    assert reset_of("2015-10-21T07:28:10Z", NOW) == pytest.approx(10.0)
    assert reset_of(str(int(NOW) + 7), NOW) == pytest.approx(7.0)
    assert reset_of("soon", NOW) is None


def test_long_texts_are_read_in_a_moment() -> None:
    assert said("retry " * 100_000 + "1" * 100_000) is None
    assert said("try again in " + "1 m " * 5000) is not None


def test_waits_are_told_and_bounded_by_their_length() -> None:
    assert closure_of(30) == Closure(30)
    assert closure_of(200) == Closure(200, long=True)
    assert closure_of(1000) == Closure(1000, long=True, pointless=True)
    assert closure_of(1e10) == Closure(3600, absurd=True, long=True, pointless=True)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_our_own_wait_doubles_up_to_a_minute_and_a_quarter(refusal: int, chance: float) -> None:
    assert min(60, 2 ** min(refusal - 1, 6)) <= backoff(refusal, chance) <= 75
    assert gate_until(100.0, 3.0, 0.05, chance) <= 103.2
