"""Headers: what they say, and which of their meanings a server has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.limits import Limits, Meaning, Seen, limits_of, rounded, window_of


def headers(limit: str, remaining: str, reset: str | None = None) -> dict[str, str]:
    said = {"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining}
    return said if reset is None else said | {"x-ratelimit-reset-requests": reset}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (headers("200", "199", "6m0s"), Limits(200, 199, 360.0)),
        (headers("200", "0"), Limits(200, 0)),
        (headers("200", "7", "-3s"), Limits(200, 7)),
        (headers("0", "0", "1s"), None),
        (headers("-5", "1", "1s"), None),
        (headers("200", "201", "1s"), None),
        (headers("lots", "1", "1s"), None),
        ({}, None),
    ],
)
def test_limits_are_read_or_are_none(said: dict[str, str], expected: Limits | None) -> None:
    assert limits_of(said) == expected


def test_tokens_are_a_dimension_of_their_own() -> None:
    said = {"x-ratelimit-limit-tokens": "90000", "x-ratelimit-remaining-tokens": "100"}
    assert limits_of(said, "tokens") == Limits(90000, 100)
    assert limits_of(said) is None


@given(st.dictionaries(st.sampled_from(list(headers("", "", ""))), st.text(max_size=30)))
def test_any_headers_can_be_read(said: dict[str, str]) -> None:
    limits = limits_of(said)
    assert limits is None or 0 <= limits.remaining <= limits.limit


def test_a_rolling_window_is_told_after_four_answers() -> None:
    seen = [Seen(5 + 0.1 * k, k + 1, 10 - 0.1 * k) for k in range(1, 5)]
    assert window_of(seen[:3], 200, 5.0) is None
    assert window_of(seen, 200, 5.0) == Meaning(10.0, bucket=False)


def test_a_bucket_is_told_by_its_filling_time() -> None:
    seen = [Seen(0.1 * k, used, used * 60 / 200) for k, used in enumerate((1, 3, 4, 6))]
    assert window_of(seen, 200, 0.0) == Meaning(60.0, bucket=True)


def test_a_measured_window_is_taken_for_the_usual_one_near_it() -> None:
    assert [rounded(w) for w in (9.6, 10.5, 61, 47)] == [10.0, 10.0, 60.0, 47]
