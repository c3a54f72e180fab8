"""Permits: whoever shares the database never gets a slot twice, and no number is left out."""

from itertools import pairwise

import pytest
from store_leases import in_processes

from runner.core.budget import Budget, memory_from_json
from runner.store.budgets import Ahead, Leased
from runner.store.store import Store

STEP = 0.001
NEAR = {"hold": 0.0, "horizon": 0.5, "clamp": 20.0}


def slots(leased: Leased, n: int) -> list[float]:
    return [leased.first + k * leased.step for k in range(n)]


def must(leased: Leased | None) -> Leased:
    assert leased is not None
    return leased


def test_eight_processes_get_slots_a_step_apart_and_numbers_without_a_gap(
    store: Store, store_url: str
) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    every = in_processes(store_url, budget_id, processes=8, leases=25, n=5)
    assert len(every) == 8 * 25
    stands = sorted(slot for one in every for slot in slots(one, 5))
    apart = [later - earlier for earlier, later in pairwise(stands)]
    # A double of this size is good to a quarter of a microsecond.
    assert min(apart) >= STEP - 1e-6
    numbers = sorted(one.first_seq + k for one in every for k in range(5))
    assert numbers == list(range(8 * 25 * 5))
    assert store.budget_look(budget_id).seq == 8 * 25 * 5


def test_a_budget_is_made_once_and_begins_as_learning_expects_it(store: Store) -> None:
    first = store.budget("account", "creates", step=0.5)
    assert store.budget("account", "creates", step=0.9) == first
    assert store.budget("account", "reads", step=0.9) != first
    row = store.budget_look(first)
    assert (row.step, row.seq, row.version, row.spread) == (0.5, 0, 0, Budget().spread)
    assert memory_from_json(row.memory) == Budget().memory
    assert {one.kind for one in store.budgets()} == {"creates", "reads"}


def test_slots_begin_now_and_never_before(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    look = store.budget_look(budget_id)
    leased = must(store.budget_lease(budget_id, 3, **NEAR))
    assert leased.first >= look.db_now
    assert leased.first == pytest.approx(leased.leased_at, abs=1e-5)
    assert (leased.step, leased.first_seq) == (STEP, 0)


def test_too_far_ahead_nothing_is_leased_and_nothing_written(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=10.0)
    must(store.budget_lease(budget_id, 1, **NEAR))
    before = store.budget_look(budget_id)
    assert store.budget_lease(budget_id, 1, **NEAR) is None
    after = store.budget_look(budget_id)
    assert (after.tat, after.seq) == (before.tat, before.seq)


def test_a_clock_set_back_costs_a_horizon_and_not_the_hour(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    now = store.budget_look(budget_id).db_now
    assert store.budget_save(budget_id, 0, tat=now + 3600)
    leased = must(store.budget_lease(budget_id, 1, **NEAR))
    assert leased.first == pytest.approx(leased.leased_at + NEAR["horizon"], abs=1e-5)


def test_hold_keeps_slots_behind_those_leased_before_a_jump(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    leased = must(store.budget_lease(budget_id, 1, hold=7.0, horizon=0.5, clamp=2.0))
    assert leased.first == pytest.approx(leased.leased_at + 7.0, abs=1e-5)


def test_a_shut_gate_holds_for_everybody_and_the_longer_wait_stays(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    store.budget_close(budget_id, 30.0, "rate limit")
    store.budget_close(budget_id, 1.0, "another")
    row = store.budget_look(budget_id)
    assert 25.0 < row.closed_until - row.db_now <= 30.0
    assert row.closed_for == pytest.approx(row.closed_until - row.db_now, abs=5.0)
    assert store.budget_lease(budget_id, 1, **NEAR) is None
    far = must(store.budget_lease(budget_id, 1, hold=0.0, horizon=60.0, clamp=100.0))
    assert far.first == pytest.approx(row.closed_until, abs=1e-5)


def test_what_was_learned_from_an_old_look_is_not_written(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    version = store.budget_look(budget_id).version
    assert store.budget_save(budget_id, version, lim=60.0, win=60.0, source="header")
    assert not store.budget_save(budget_id, version, lim=1.0)
    row = store.budget_look(budget_id)
    assert (row.lim, row.win, row.source, row.version) == (60.0, 60.0, "header", version + 1)


def test_learning_does_not_open_a_gate_that_was_shut_meanwhile(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    seen = store.budget_look(budget_id)
    store.budget_close(budget_id, 30.0, "rate limit")
    assert not store.budget_save(budget_id, seen.version, closed_until=seen.closed_until)


def test_what_only_the_lease_may_write_is_not_saved(store: Store) -> None:
    budget_id = store.budget("account", "creates", step=STEP)
    with pytest.raises(ValueError, match="not for saving: seq"):
        store.budget_save(budget_id, 0, seq=0)


def test_a_correction_moves_the_next_slot(store: Store) -> None:
    budget_id = store.budget("account", "tokens", step=STEP)
    must(store.budget_lease(budget_id, 100, **NEAR))
    before = store.budget_look(budget_id).tat
    store.budget_correct(budget_id, -0.05)
    assert store.budget_look(budget_id).tat == pytest.approx(before - 0.05, abs=1e-5)


def test_tokens_and_a_create_are_leased_together_or_not_at_all(store: Store) -> None:
    tokens = store.budget("account", "tokens", step=0.00001)
    creates = store.budget("account", "creates", step=10.0)
    near = Ahead(0.0, 0.5, 20.0)
    got = store.budget_lease_two(tokens, 500, near, creates, near)
    assert got is not None
    assert (got[0].first_seq, got[1].first_seq) == (0, 0)
    assert store.budget_lease_two(tokens, 500, near, creates, near) is None
    assert store.budget_look(tokens).seq == 500, "the tokens were given back"


def test_a_database_in_memory_has_budgets_too() -> None:
    store = Store.open(":memory:")
    budget_id = store.budget("account", "creates", step=STEP)
    assert must(store.budget_lease(budget_id, 1, **NEAR)).first_seq == 0
    store.close()
