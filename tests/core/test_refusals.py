"""Which limit a 429 is about."""

from random import Random

from runner.core.refusals import Met, kind_of_429


def test_refusals_at_many_runs_are_about_concurrency() -> None:
    rng = Random(4)
    met = [Met(flight < 8, flight, rng.uniform(0, 50)) for flight in [3, 5, 8, 7, 9, 4, 8, 2, 9, 6]]
    assert kind_of_429(met) == "concurrency"


def test_refusals_at_a_full_window_are_about_the_rate() -> None:
    rng = Random(4)
    met = [Met(own < 40, rng.randrange(1, 20), own) for own in [10, 20, 30, 39, 40, 41, 12, 44, 30]]
    assert kind_of_429(met) == "rate"


def test_two_refusals_or_a_draw_decide_nothing() -> None:
    assert kind_of_429([Met(admitted=False, in_flight=9, own=9)] * 2) is None
    level = [Met(k < 5, k, float(k)) for k in range(10)]
    assert kind_of_429(level) is None
