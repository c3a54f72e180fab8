"""What stops a batch, and what does not."""

from collections.abc import Iterable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from runner.core.breaker import (
    CHANCE,
    EQUAL_REFUSALS,
    MISSING_AT_START,
    MOST_EQUAL,
    Breaker,
    Row,
    Trip,
    enough,
)
from runner.core.call import Reply, Silence
from runner.core.faults import Fault, classify
from runner.core.model import ApiError


def refusal(text: str, status: int = 400) -> Fault:
    return classify(Reply(status), ApiError("", "invalid_request_error", text))


def all_refused(breaker: Breaker, numbers: Iterable[int]) -> list[Trip | None]:
    return [breaker.refused(refusal("same"), 0.0, number) for number in numbers]


def test_equal_refusals_in_a_row_open_it_whatever_they_name() -> None:
    breaker = Breaker()
    trips = [
        breaker.refused(refusal(f"No thread found with id 'thread_{i}'."), 0.0, breaker.send())
        for i in range(EQUAL_REFUSALS)
    ]
    assert trips[:-1] == [None] * (EQUAL_REFUSALS - 1)
    assert trips[-1] is not None
    assert "in a row" in trips[-1].why


def test_a_create_between_them_closes_the_row() -> None:
    breaker = Breaker()
    for _ in range(5 * EQUAL_REFUSALS):
        assert breaker.refused(refusal("same"), 0.0, breaker.send()) is None
        breaker.created(breaker.send())


def test_refusals_that_overtake_what_was_sent_between_them_are_no_row() -> None:
    breaker = Breaker()
    numbers = [breaker.send() for _ in range(4 * EQUAL_REFUSALS)]
    good = numbers[2::3]
    assert not any(all_refused(breaker, [n for n in numbers if n not in good]))
    for number in good:
        breaker.created(number)
    assert not any(all_refused(breaker, [breaker.send() for _ in range(EQUAL_REFUSALS)]))


def test_a_create_that_was_cut_with_the_lease_splits_no_row() -> None:
    breaker = Breaker()
    breaker.send()
    breaker.hung_up()
    missing = [refusal("no assistant", 404) for _ in range(MISSING_AT_START)]
    trips = [breaker.refused(fault, 0.0, breaker.send()) for fault in missing]
    assert trips[-1] is not None
    assert "the first 3 creates" in trips[-1].why


def test_what_was_under_way_and_is_refused_after_all_closes_the_gap() -> None:
    breaker = Breaker()
    first, *others = [breaker.send() for _ in range(EQUAL_REFUSALS)]
    assert not any(all_refused(breaker, others[4:]))
    assert not any(all_refused(breaker, others[:4]))
    assert breaker.refused(refusal("same"), 0.0, first) is not None


def test_an_answer_of_another_kind_closes_a_gap_too() -> None:
    breaker = Breaker()
    numbers = [breaker.send() for _ in range(EQUAL_REFUSALS + 1)]
    middle = numbers.pop(5)
    assert not any(all_refused(breaker, numbers))
    trip = breaker.refused(classify(Silence(sent=True, why="timeout")), 0.0, middle)
    assert trip is not None
    assert "10 equal refusals in a row: " in trip.why
    assert trip.why.endswith("same")


def test_threads_that_are_refused_are_counted_and_those_under_way_end_no_row() -> None:
    breaker = Breaker()
    trips = all_refused(breaker, [0] * EQUAL_REFUSALS)
    assert trips[:-1] == [None] * (EQUAL_REFUSALS - 1)
    assert trips[-1] is not None


def test_a_thread_of_a_moment_ago_that_is_unknown_says_nothing_of_the_batch() -> None:
    breaker, unknown = Breaker(), refusal("No thread found with id 'thread_5'.", 404)
    for _ in range(5 * EQUAL_REFUSALS):
        assert breaker.refused(unknown, 0.0, breaker.send(), fresh=True) is None
    assert breaker.refused(unknown, 0.0, breaker.send()) is None
    unknown_assistant = refusal("No assistant found with id 'asst_5'.", 404)
    trips = [
        breaker.refused(unknown_assistant, 0.0, breaker.send(), fresh=True)
        for _ in range(MISSING_AT_START)
    ]
    assert any(trips)


def test_a_proxy_that_asks_who_we_are_stops_it_and_says_so() -> None:
    trip = Breaker().refused(classify(Reply(407)), 0.0, 1)
    assert trip is not None
    assert "the proxy" in trip.remedy


def test_a_success_counts_where_it_was_sent_and_not_where_it_was_heard_of() -> None:
    breaker = Breaker()
    early = breaker.send()
    numbers = [breaker.send() for _ in range(EQUAL_REFUSALS)]
    assert not any(all_refused(breaker, numbers[:-1]))
    breaker.created(early)
    assert breaker.refused(refusal("same"), 0.0, numbers[-1]) is not None


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_how_many_are_enough_grows_with_the_share_that_is_refused(bad: int, good: int) -> None:
    needed = enough(bad, good)
    assert EQUAL_REFUSALS <= needed <= MOST_EQUAL
    assert needed <= enough(bad + 1, good) or not bad
    if bad and good:
        rare = (bad / (bad + good)) ** needed <= CHANCE * 1.001
        assert rare or needed == MOST_EQUAL


def test_a_batch_of_which_most_are_refused_one_by_one_goes_on_and_stops_where_all_are() -> None:
    rng, breaker = Random(5), Breaker()
    for _ in range(2000):
        number = breaker.send()
        if rng.random() < 0.6:
            assert breaker.refused(refusal("same"), 0.0, number) is None
        else:
            breaker.created(number)
    trips = all_refused(breaker, [breaker.send() for _ in range(MOST_EQUAL)])
    assert any(trips)


@given(st.data())
def test_a_row_is_what_stands_side_by_side_in_the_order_of_sending(data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.sampled_from(["refused", "made", "other"]), max_size=30))
    answered = data.draw(st.permutations(range(len(ends))))
    row = Row()
    numbers = [row.send() for _ in ends]
    known: dict[int, str] = {}
    for at in answered:
        row.end(numbers[at])
        known[at] = ends[at]
        if ends[at] == "made":
            row.succeed(numbers[at])
        if ends[at] == "refused":
            row.refuse(numbers[at])
        assert row.around(numbers[at]) == _beside(known, at)


def _beside(known: dict[int, str], at: int) -> int:
    """Count the refusals around a place, up to what is unknown or made a run."""
    if any(end == "made" and place >= at for place, end in known.items()):
        return 0
    count = int(known[at] == "refused")
    for step in (-1, 1):
        place = at + step
        while known.get(place) in ("refused", "other"):
            count += known[place] == "refused"
            place += step
    return count


def test_an_unknown_assistant_before_any_create_stops_soon() -> None:
    breaker = Breaker()
    trips = [
        breaker.refused(refusal("No assistant found", 404), 0.0, breaker.send()) for _ in range(3)
    ]
    assert trips[:2] == [None, None]
    assert trips[2] is not None


def test_the_first_answers_are_not_the_first_creates_where_others_are_under_way() -> None:
    breaker = Breaker()
    breaker.send()
    for _ in range(MISSING_AT_START):
        number = breaker.send()
        assert breaker.refused(refusal("No model found", 404), 0.0, number) is None


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
