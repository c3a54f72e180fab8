"""Learning a limit: what each event does to the row."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.budget import (
    FREE,
    Answered,
    Budget,
    Event,
    GivenUp,
    Lifted,
    Measured,
    Memory,
    Refused,
    RunFailed,
    Source,
    known,
    memory_from_json,
    memory_to_json,
)
from runner.core.learning import learn
from runner.core.limits import Limits


def taught(row: Budget, *events: Event) -> Budget:
    for event in events:
        row = learn(row, event)
    return row


def opening(n: int, reset: float | None = None, step: float = 0.1) -> list[Event]:
    """Return the first answers of a rolling window of 10 s and 200 calls."""
    return [
        Answered(
            k * step,
            k,
            k * step + 0.03,
            None if reset is None else Limits(200, 199 - k, max(0.0, reset - k * step)),
        )
        for k in range(n)
    ]


def test_four_answers_with_headers_teach_limit_and_window() -> None:
    row = taught(Budget(), *opening(5, 10.0))
    assert (row.lim, row.win, row.source) == (200, 10.0, Source.HEADER)
    assert row.step == pytest.approx(10.05 / 200)
    assert taught(Budget(), *opening(3, 10.0)).win is None


def test_an_answer_without_headers_frees_the_pace() -> None:
    assert taught(Budget(), *opening(1)).step == FREE


def test_headers_without_a_reset_mean_a_minute_after_twelve_answers() -> None:
    answers = [Answered(k * 0.1, k, k * 0.1, Limits(60, 59 - k)) for k in range(12)]
    assert taught(Budget(), *answers[:-1]).win is None
    assert taught(Budget(), *answers).win == 60.0


def test_a_longer_reset_corrects_a_fixed_window_that_looked_short() -> None:
    row = taught(Budget(), *opening(5, 4.0))
    assert row.win == pytest.approx(4.0, abs=0.1)
    row = learn(row, Answered(4.5, 60, 4.53, Limits(200, 190, 9.9)))
    assert row.win == 10.0


def test_a_new_limit_in_a_header_holds_at_once() -> None:
    row = taught(Budget(), *opening(5, 10.0))
    row = learn(row, Answered(0.6, 5, 0.63, Limits(100, 90, 9.4)))
    assert row.lim == 100


def test_others_are_what_is_used_beyond_our_own() -> None:
    row = taught(Budget(), *opening(5, 10.0))
    row = learn(row, Answered(0.6, 5, 0.63, Limits(200, 94, 9.4)))
    assert row.others == pytest.approx(50, abs=1)
    assert row.step > 10.05 / 150


def test_a_limit_of_the_user_is_not_overruled_by_headers_nor_refusals() -> None:
    row = known(1000, 60.0)
    row = learn(row, Answered(1.0, 0, 1.0, Limits(200, 100, 5.0)))
    row = learn(row, Refused(2.0, 1, 2.1, 3.0, 0.0))
    assert (row.lim, row.win, row.source, row.others) == (1000, 60.0, Source.FLAG, 0.0)
    assert row.closed_until == pytest.approx(5.1)


def burst(n: int, over: float = 1.0) -> list[Event]:
    return [Answered(k * over / n, k, k * over / n + 0.02) for k in range(n)]


def test_one_closure_told_by_retry_after_teaches_limit_and_window() -> None:
    row = taught(Budget(), *burst(200), Refused(1.005, 200, 1.02, 8.98, 0.0))
    assert (row.lim, row.win, row.source) == (200, 10.0, Source.CLOSURE)
    assert row.closed_until == pytest.approx(10.0, abs=0.1)


def test_a_closure_that_nobody_names_is_probed_behind_the_usual_windows() -> None:
    row = taught(Budget(), *burst(200), Refused(1.5, 200, 1.52, None, 0.0))
    assert row.closed_until == pytest.approx(1.82)  # first soon: it may have been chance
    row = learn(row, Refused(1.82, 201, 1.84, None, 0.0))
    assert row.closed_until == pytest.approx(5.1)
    row = learn(row, Refused(5.1, 202, 5.12, None, 0.0))
    assert row.closed_until == pytest.approx(10.2)
    row = learn(row, Answered(10.2, 203, 10.22))
    assert (row.lim, row.win) == (200, 10.0)


def test_one_refusal_that_the_next_call_does_not_meet_shows_no_window() -> None:
    row = taught(Budget(), *burst(200), Refused(1.5, 200, 1.52, None, 0.0))
    # A job that had to wait came late: nobody saw the server closed for so long.
    row = learn(row, Answered(6.0, 201, 6.02))
    assert (row.lim or 0) / (row.win or 1) > 100


def test_refusals_far_below_a_pace_that_was_admitted_do_not_slow_it_down() -> None:
    row = taught(Budget(), *burst(200), Refused(1.5, 200, 1.52, None, 0.0))
    row, seq, at, rates = learn(row, Answered(2.0, 201, 2.02)), 202, 2.1, []
    for _ in range(12):
        for _ in range(30):
            row = learn(row, Answered(at, seq, at + 0.02))
            seq, at = seq + 1, at + row.step
        row = learn(row, Refused(at, seq, at + 0.02, None, 0.0))
        at = row.closed_until + 0.01
        row = learn(row, Answered(at, seq + 1, at + 0.02))
        seq, at = seq + 2, at + row.step
        rates.append(1 / row.step)
    assert min(rates) > 10


def test_what_was_about_runs_at_once_teaches_no_rate() -> None:
    row = taught(Budget(), *burst(20), Refused(1.005, 20, 1.02, 8.98, 0.0))
    assert row.lim is not None
    lifted = learn(row, Lifted())
    assert (lifted.lim, lifted.source, lifted.step) == (None, None, FREE)
    flag = known(60, 60)
    assert learn(flag, Lifted()) == flag


def test_a_longer_window_found_later_is_no_reason_to_go_faster() -> None:
    row = taught(Budget(), *burst(200), Refused(1.005, 200, 1.02, 8.98, 0.0))
    faster = [Answered(10.1 + k * 0.02, 201 + k, 10.2 + k * 0.02) for k in range(500)]
    before = taught(row, *faster)
    after = learn(before, Refused(20.2, 701, 20.3, 5.0, 0.0))
    assert after.win == 15.0
    assert after.lim == pytest.approx(1.5 * (before.lim or 0))


def test_a_refusal_of_a_call_sent_before_the_cut_does_not_cut_again() -> None:
    cut = taught(Budget(), *burst(200), Refused(1.02, 203, 1.03, 8.97, 0.0))
    belated = learn(cut, Refused(1.01, 201, 1.05, 8.9, 0.0))
    assert belated.lim == pytest.approx((cut.lim or 0) - 1)  # it was counted as admitted
    later = learn(cut, Refused(1.03, 206, 1.06, 20.0, 0.0))
    assert later.lim == cut.lim
    assert later.closed_until == pytest.approx(21.06, abs=0.3)


def test_a_short_wait_after_a_long_one_keeps_the_long_gate_in_its_own_length() -> None:
    """Else a look takes the gate for a clock set back, and opens it."""
    row = learn(known(60, 60.0), Refused(1.0, 0, 1.0, 300.0, 0.0))
    row = learn(row, Refused(0.5, 1, 2.0, 1.0, 0.0))
    assert row.closed_until == pytest.approx(301.0)
    assert row.closed_until <= 2.0 + row.closed_for + 2.0


def test_absurd_waits_close_for_an_hour() -> None:
    row = learn(known(60, 60.0), Refused(1.0, 0, 1.0, 1e9, 0.0))
    assert row.closed_until == pytest.approx(3601.0)


def test_refusals_by_chance_do_not_slow_a_server_without_a_limit() -> None:
    row, slot, seq = Budget(), 0.0, 0
    for _ in range(200):
        for _ in range(19):
            row = learn(row, Answered(slot, seq, slot + 0.003))
            slot, seq = slot + max(row.step, 0.005), seq + 1
        row = learn(row, Refused(slot, seq, slot + 0.003, 0.15, 0.5))
        slot, seq = max(slot + row.step, row.closed_until), seq + 1
    assert row.step < 0.02


def test_a_server_that_admits_no_burst_gets_more_room_a_step() -> None:
    row = known(200, 60.0)
    for k in range(0, 20, 2):
        row = learn(row, Answered(k * 0.3, k, k * 0.3 + 0.02))
        row = learn(row, Refused(k * 0.3 + 0.31, k + 1, k * 0.3 + 0.33, 0.2, 0.0))
        row = replace(row, cut_at=0.0)
    assert row.step > 60.2 / 200 + 0.09


def test_a_refusal_at_our_full_count_widens_the_spread() -> None:
    row = taught(known(10, 10.0), *[Answered(k * 0.9, k, k) for k in range(10)])
    wider = learn(row, Refused(9.5, 10, 9.6, 1.0, 0.0))
    assert wider.spread == pytest.approx(1.25 * row.spread)
    assert learn(wider, Measured(0.01)).spread == wider.spread
    assert learn(row, Measured(0.09)).spread == 0.09


def test_given_up_permits_are_not_counted_as_ours() -> None:
    row = taught(known(100, 10.0), *burst(50, 5.0))
    given_up = learn(row, GivenUp(4.9, 49))
    assert sum(mark.refused for mark in given_up.memory.marks) == 1


def test_runs_that_fail_for_the_rate_cut_it_once_and_it_climbs_again() -> None:
    answers = [Answered(k * 0.1, k, k * 0.1) for k in range(100)]
    row = taught(Budget(), *answers, RunFailed(9.0, 10.0, 2.0))
    assert row.source is Source.SEARCH
    assert row.lim == pytest.approx(80, rel=0.15)
    assert learn(row, RunFailed(9.5, 10.5, 2.0)) == row
    quiet = learn(row, Answered(25.0, 101, 25.0))
    assert quiet.lim == pytest.approx(1.05 * (row.lim or 0))


def test_memory_survives_its_column() -> None:
    row = taught(Budget(), *burst(200), Refused(1.005, 200, 1.02, 8.98, 0.0))
    assert memory_from_json(memory_to_json(row.memory)) == row.memory
    assert memory_from_json("{]") == Memory() == memory_from_json('{"marks": 3}')


events = st.lists(
    st.tuples(
        st.sampled_from(["answered", "refused", "told", "given up", "failed", "measured"]),
        st.floats(0, 20),
        st.floats(0.001, 40),
        st.one_of(st.none(), st.tuples(st.integers(1, 300), st.integers(0, 300))),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(events, st.sampled_from([Budget(), known(20, 10.0), known(200, 60.0)]))
def test_no_refusal_raises_the_rate_and_no_event_breaks_the_row(
    happened: list[tuple[str, float, float, tuple[int, int] | None]], row: Budget
) -> None:
    slot = 0.0
    for seq, (kind, after, number, headers) in enumerate(happened):
        slot = slot + after
        limits = headers and Limits(headers[0], min(headers[0], headers[1]), number)
        event: Event
        match kind:
            case "answered":
                event = Answered(slot, seq, slot + 0.01, limits or None)
            case "given up":
                event = GivenUp(slot, seq)
            case "failed":
                event = RunFailed(slot, slot + number, number)
            case "measured":
                event = Measured(min(0.2, number))
            case _:
                wait = number if kind == "told" else None
                event = Refused(slot, seq, slot + 0.01, wait, 0.5)
        before, row = row, learn(row, event)
        assert FREE * 0.99 <= row.step < 1e6
        assert row.others >= 0
        assert memory_from_json(memory_to_json(row.memory)) == row.memory
        if isinstance(event, Refused) and before.lim and before.win and row.lim and row.win:
            assert row.lim / row.win <= before.lim / before.win * (1 + 1e-9)
            if row.win == before.win:
                assert row.lim <= before.lim * (1 + 1e-9)
