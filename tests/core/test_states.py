"""The table of a job's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.model import JobState
from runner.core.states import TRANSITIONS, Event, ImpossibleError, mermaid, step

events = st.lists(st.sampled_from(Event), max_size=40)


def walk(steps: list[Event]) -> list[tuple[JobState, Event, JobState]]:
    state, seen = JobState.QUEUED, []
    for event in steps:
        try:
            after = step(state, event)
        except ImpossibleError:
            continue
        seen.append((state, event, after))
        state = after
    return seen


@given(events)
def test_a_run_is_only_made_out_of_submitting(steps: list[Event]) -> None:
    for before, event, _ in walk(steps):
        if event is Event.CREATED:
            assert before is JobState.SUBMITTING


@given(events)
def test_nothing_is_created_again_once_a_run_is_known_but_by_a_retry(steps: list[Event]) -> None:
    known = False
    for _, event, _ in walk(steps):
        if event in (Event.CREATED, Event.ADOPTED):
            known = True
        elif event is Event.RETRY:
            known = False
        elif event is Event.INTEND:
            assert not known


@given(events)
def test_a_job_at_rest_moves_only_by_a_person(steps: list[Event]) -> None:
    for before, event, _ in walk(steps):
        if before.at_rest:
            assert event in (Event.RETRY, Event.ADOPTED)


def test_every_state_can_come_to_rest() -> None:
    reach = {state for state in JobState if state.at_rest}
    while True:
        more = {before for (before, _), after in TRANSITIONS.items() if after in reach} - reach
        if not more:
            break
        reach |= more
    assert reach == set(JobState)


def test_doubt_keeps_a_job_submitting() -> None:
    assert step(JobState.SUBMITTING, Event.DOUBT) is JobState.SUBMITTING


def test_an_impossible_step_is_a_bug_and_says_so() -> None:
    with pytest.raises(ImpossibleError, match="running knows no 'created'"):
        step(JobState.RUNNING, Event.CREATED)


def test_the_diagram_names_every_transition_of_the_table() -> None:
    drawn = mermaid()
    for (before, event), after in TRANSITIONS.items():
        lines = [line for line in drawn.splitlines() if f"{before} --> {after}:" in line]
        assert any(event.value in line for line in lines)
