"""Whose job goes next."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from runner.core.fairness import level, next_batch

names = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(1, 9), min_size=1, max_size=6
)


def serve(weights: dict[str, float], turns: int) -> list[str]:
    served: dict[str, float] = {}
    order: list[str] = []
    for _ in range(turns):
        name = next_batch(weights, served)
        assert name is not None
        served[name] = served.get(name, 0.0) + 1
        order.append(name)
    return order


@given(names)
def test_jobs_served_stand_as_the_weights_do(weights: dict[str, int]) -> None:
    total = sum(weights.values())
    got = Counter(serve(dict(weights), 20 * total))
    assert all(abs(got[name] - 20 * weight) <= weight + 1 for name, weight in weights.items())


def test_who_wakes_starts_level_and_does_not_catch_up() -> None:
    weights, served = {"old": 1.0, "new": 1.0}, {"old": 5000.0}
    served["new"] = level(weights, served, "new")
    assert served["new"] == 5000.0
    order = [next_batch(weights, served)]
    served["new"] += 1
    order.append(next_batch(weights, served))
    assert set(order) == {"old", "new"}


def test_nobody_has_work() -> None:
    assert next_batch({}, {}) is None
