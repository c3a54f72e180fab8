"""The life of a job: every transition there is, in one table.

The README's diagram and the store's guards are drawn from `TRANSITIONS`. A state is written
nowhere but through `step`. Numbers in the comments are rows of the protocol's table.
"""

from enum import StrEnum

from runner.core.model import JobState


class Event(StrEnum):
    """What can happen to a job."""

    INTEND = "intent recorded"
    REFUSED = "surely refused"
    REJECTED = "given up"
    DOUBT = "doubt"
    CREATED = "created"
    ADOPTED = "adopted"
    IN_DOUBT = "in doubt for good"
    COMPLETED = "run completed"
    ENDED_BADLY = "run ended otherwise"
    RUN_CANCELLED = "run cancelled"
    LOST = "run lost"
    CANCEL = "cancelled by a person"
    RETRY = "retried"


Q, S, R = JobState.QUEUED, JobState.SUBMITTING, JobState.RUNNING
OK, BAD, OFF = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED

TRANSITIONS: dict[tuple[JobState, Event], JobState] = {
    (Q, Event.INTEND): S,  # 2
    (Q, Event.REJECTED): BAD,  # a refusal that no retry mends, met before a send (thread refused)
    (Q, Event.CANCEL): OFF,  # 17
    (Q, Event.ADOPTED): R,  # 2, the look that precedes a send found it
    (S, Event.REFUSED): Q,  # 5, 7
    (S, Event.REJECTED): BAD,  # 7, no attempts left or nothing that a retry mends
    (S, Event.DOUBT): S,  # 8, 9
    (S, Event.INTEND): S,  # 11, the same key and bytes again
    (S, Event.CREATED): R,  # 6
    (S, Event.ADOPTED): R,  # 10, 12
    (S, Event.IN_DOUBT): BAD,  # 11
    (S, Event.CANCEL): OFF,  # 11 with 18: asked, and a look after quiet found nothing
    (R, Event.COMPLETED): OK,  # 14
    (R, Event.ENDED_BADLY): BAD,  # 14
    (R, Event.RUN_CANCELLED): OFF,  # 14, 19
    (R, Event.LOST): BAD,  # 15
    (OK, Event.RETRY): Q,  # 20
    (BAD, Event.RETRY): Q,
    (OFF, Event.RETRY): Q,
    (BAD, Event.ADOPTED): R,  # audit --adopt: a run that no row knew
    (OFF, Event.ADOPTED): R,
}


class ImpossibleError(Exception):
    """An event met a state that the table does not know: a bug, never a person's mistake."""


def step(state: JobState, event: Event) -> JobState:
    """Return the state after an event; `ImpossibleError` where the table has no such step."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleError(f"{state} knows no '{event}'") from None


def mermaid() -> str:
    """Return the README's state diagram, drawn from the table."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    grouped: dict[tuple[JobState, JobState], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        grouped.setdefault((before, after), []).append(event.value)
    lines += [
        f"    {before} --> {after}: {' / '.join(events)}"
        for (before, after), events in grouped.items()
    ]
    return "\n".join(lines)
