"""Settings as RUNNER_… variables: what a worker process is given is what its parent had."""

from hypothesis import given
from hypothesis import strategies as st

from runner.config import joined, parted


@given(st.lists(st.text()))
def test_a_list_reaches_a_variable_and_comes_back(values: list[str]) -> None:
    assert parted(joined(values)) == tuple(values)


def test_plain_values_stand_between_commas_as_a_person_writes_them() -> None:
    assert joined(["messages", "steps"]) == "messages,steps"
    assert parted(" messages , steps,") == ("messages", "steps")
    assert parted("[not json, at all") == ("[not json", "at all")
