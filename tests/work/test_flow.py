"""What other processes have in flight and what holds them back, as the database shows it."""

import pytest
from msgspec.structs import replace

from runner.core.batch import Count
from runner.core.model import JobState
from runner.core.progress import Progress
from runner.store.budgets import BudgetRow
from runner.work.flow import Flow, flow_of_others

BASE = "https://a.example/v1"
NOW_S = 1000.0
CREATES = BudgetRow(
    id=1,
    account=f"{BASE} 0a1b",
    kind="creates",
    step=0.1,
    tat=NOW_S - 5,
    closed_until=NOW_S - 5,
    closed_for=1.0,
    closed_why="",
    leased_at=NOW_S - 5,
    seq=7,
    lim=600.0,
    win=60.0,
    source="flag",
    others=0.0,
    spread=0.1,
    opened_at=0.0,
    opened_seq=0,
    cut_at=0.0,
    memory="{}",
    version=1,
    db_now=NOW_S,
)
TOKENS = replace(CREATES, id=2, kind="tokens")
SHUT, AHEAD = NOW_S + 3, NOW_S + 0.4


def stand(running: int, queued: int = 5, base_url: str = BASE) -> Progress:
    states = {JobState.QUEUED: queued, JobState.SUBMITTING: 1, JobState.RUNNING: running}
    counts = tuple(Count(state, "", jobs) for state, jobs in states.items())
    return Progress("m", "openai", base_url, counts)


@pytest.mark.parametrize(
    ("running", "budgets", "flow"),
    [
        (3, [CREATES, TOKENS], Flow(4, None, "")),
        (3, [replace(CREATES, tat=AHEAD)], Flow(4, None, "rate")),
        # Nobody has found a limit yet: permits are counted, and nothing paces.
        (3, [replace(CREATES, tat=AHEAD, lim=None)], Flow(4, None, "")),
        (
            3,
            [replace(CREATES, tat=AHEAD), replace(TOKENS, closed_until=SHUT)],
            Flow(4, None, "tokens"),
        ),
        (3, [replace(CREATES, closed_until=SHUT)], Flow(4, None, "server")),
        (
            3,
            [replace(CREATES, closed_until=SHUT, account="https://b.example/v1 -")],
            Flow(4, None, ""),
        ),
        # Of ten places three workers have three each.
        (8, [replace(CREATES, tat=AHEAD)], Flow(9, 10, "concurrency")),
    ],
)
def test_what_holds_others_back_is_read_from_their_counts_and_budgets(
    running: int, budgets: list[BudgetRow], flow: Flow
) -> None:
    assert flow_of_others([stand(running)], budgets, concurrency=10, workers=3) == flow


def test_nothing_holds_back_where_nothing_waits() -> None:
    shut = [replace(CREATES, closed_until=SHUT)]
    assert flow_of_others([stand(9, queued=0)], shut, 10, 3) == Flow(10, None, "")


def test_what_is_in_flight_is_of_all_batches() -> None:
    both = [stand(4, base_url="https://b.example/v1"), stand(2, queued=0)]
    assert flow_of_others(both, [CREATES], 100, 2) == Flow(8, None, "")


def test_fewer_places_than_workers_are_all_in_use_when_each_has_one() -> None:
    assert flow_of_others([stand(2)], [], concurrency=1, workers=3) == Flow(3, 1, "concurrency")
