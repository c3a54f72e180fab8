"""One more process is started where processor time holds the work back, and only there."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.growing import LOOKS, WORTH_S, Growing, Look, rest_s

BUSY = Look(processes=1, busy_cores=0.97, idle_cores=0.9, left_s=60.0, writing=0.05)


def started(looks: list[Look], most: int = 4) -> int:
    growing = Growing(most)
    return sum(growing.after(look) for look in looks)


def test_a_busy_process_beside_an_idle_core_gets_help_after_a_few_looks() -> None:
    assert started([BUSY] * (LOOKS - 1)) == 0
    assert started([BUSY] * LOOKS) == 1


def test_every_process_must_be_busy_before_there_is_another() -> None:
    two = replace(BUSY, processes=2)
    assert started([two] * 10) == 0
    assert started([replace(two, busy_cores=1.9)] * LOOKS) == 1


def test_there_are_never_more_than_the_cores() -> None:
    assert started([BUSY] * 10, most=1) == 0


def test_what_a_limit_or_the_server_or_the_file_holds_back_gets_no_help() -> None:
    for other in (
        replace(BUSY, busy_cores=0.5),
        replace(BUSY, idle_cores=0.1),
        replace(BUSY, left_s=WORTH_S / 2),
        replace(BUSY, writing=0.2),
    ):
        assert started([other] * 10) == 0


def test_looks_must_agree_in_a_row() -> None:
    assert started([BUSY, replace(BUSY, busy_cores=0.2)] * 10) == 0


def test_jobs_that_still_come_are_enough_work() -> None:
    assert started([replace(BUSY, left_s=None)] * LOOKS) == 1


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0.01, 100))
def test_the_rest_is_told_by_the_pace_and_nothing_by_none(
    before: int, now: int, took_s: float
) -> None:
    rest = rest_s(before, now, took_s)
    if before <= now:
        assert rest == 0
    else:
        assert rest * (before - now) == now * took_s or abs(
            rest * (before - now) - now * took_s
        ) <= 1e-6 * max(1.0, now * took_s)
