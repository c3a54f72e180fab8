"""Runs in flight: how far it grows, what cuts it, who gets what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.ceiling import Ceiling, Ended, Full, Group, RunRefused, Sign, after, shares


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
    again = after(state, full(40))
    assert again.c == pytest.approx(32)
    assert again.closed_until == pytest.approx(100.4)


def test_quiet_raises_it_by_one_then_two_then_four() -> None:
    state = after(ended(Ceiling(), 60), full(20))
    grown = ended(state, 100)
    assert grown.c == 21
    assert ended(grown, 42).c == 23
    assert after(ended(grown, 42), full(21)).growth == 1


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


groups = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.builds(Group, st.integers(0, 50), st.booleans(), st.sampled_from([0.5, 1.0, 2.0, 5.0])),
    max_size=8,
)


@given(groups, st.integers(0, 200))
def test_shares_stay_below_the_ceiling_and_starve_nobody(asked: dict[str, Group], c: int) -> None:
    given_out = shares(asked, c)
    wanting = [name for name, group in asked.items() if group.has_work]
    assert sum(given_out.values()) <= c
    assert sum(given_out[name] >= 1 for name in wanting) >= min(c, len(wanting))
    if wanting:
        assert sum(given_out.values()) == c


def test_what_one_group_leaves_goes_to_the_others() -> None:
    asked = {
        "slow": Group(100, has_work=True),
        "fast": Group(0, has_work=True),
        "spent": Group(10, has_work=False),
    }
    assert shares(asked, 100) == {"slow": 45, "fast": 45, "spent": 10}


def test_shares_stand_as_the_weights_do() -> None:
    asked = {"a": Group(0, has_work=True, weight=3), "b": Group(0, has_work=True)}
    assert shares(asked, 40) == {"a": 30, "b": 10}
