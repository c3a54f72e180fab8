"""What stops a batch, and what does not."""

from runner.core.breaker import EQUAL_REFUSALS, Breaker, Trip
from runner.core.call import Reply, Silence
from runner.core.faults import Fault, classify
from runner.core.model import ApiError


def refusal(text: str, status: int = 400) -> Fault:
    return classify(Reply(status), ApiError("", "invalid_request_error", text))


def test_equal_refusals_in_a_row_open_it_whatever_they_name() -> None:
    breaker = Breaker()
    trips = [
        breaker.refused(refusal(f"No thread found with id 'thread_{i}'."), 0.0)
        for i in range(EQUAL_REFUSALS)
    ]
    assert trips[:-1] == [None] * (EQUAL_REFUSALS - 1)
    assert trips[-1] is not None
    assert "in a row" in trips[-1].why


def test_a_create_between_them_closes_the_row() -> None:
    breaker = Breaker()
    for _ in range(5 * EQUAL_REFUSALS):
        assert breaker.refused(refusal("same"), 0.0) is None
        breaker.created()


def test_an_unknown_assistant_before_any_create_stops_soon() -> None:
    breaker = Breaker()
    trips = [breaker.refused(refusal("No assistant found", 404), 0.0) for _ in range(3)]
    assert trips[:2] == [None, None]
    assert trips[2] is not None


def test_money_and_keys_stop_at_once() -> None:
    assert Breaker().refused(classify(Reply(401)), 0.0) is not None
    assert Breaker().refused(classify(Reply(429), ApiError("insufficient_quota")), 0.0) is not None


def test_a_host_that_is_silent_for_a_minute_stops_it_and_one_answer_resets_it() -> None:
    breaker, silence = Breaker(), classify(Silence(sent=False, why="refused"))
    assert breaker.refused(silence, 0.0) is None
    assert breaker.refused(silence, 59.0) is None
    breaker.answered()
    assert breaker.refused(silence, 61.0) is None
    assert breaker.refused(silence, 122.0) is not None


def test_too_many_failures_by_count_and_by_share() -> None:
    assert Breaker(max_failures=3).failures(3, 100) is None
    assert Breaker(max_failures=3).failures(4, 100) is not None
    assert Breaker(max_failed_share=0.05).failures(5, 100) is None
    assert Breaker(max_failed_share=0.05).failures(6, 100) is not None


def test_why_and_what_to_do_are_kept_as_one_line_and_read_again() -> None:
    trip = Trip("no credit; it says", "add some")
    assert Trip.of(trip.line, "resume") == trip
    assert Trip.of("interrupted", "resume") == Trip("interrupted", "resume")
