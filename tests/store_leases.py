"""Processes that lease permits from one budget, as workers do; forked by the tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context

from runner.store import budgets
from runner.store.budgets import Ahead, Leased
from runner.store.light import LightWriter
from runner.store.place import place_of

FAR = Ahead(hold=0.0, horizon=1000.0, clamp=2000.0)


@dataclass(frozen=True)
class Leasing:
    """What one process does: so many leases of n permits each."""

    url: str
    budget_id: int
    leases: int
    n: int


def lease_all(leasing: Leasing) -> list[Leased]:
    light = LightWriter(place_of(leasing.url), lambda _line: None)
    got = []
    for _ in range(leasing.leases):
        one = light.run(
            lambda connection: budgets.lease(connection, leasing.budget_id, leasing.n, FAR)
        )
        assert one is not None
        got.append(one)
    light.close()
    return got


def in_processes(leasings: Sequence[Leasing]) -> list[list[Leased]]:
    """Run each in a process of its own, all at once."""
    # Forked from a server that has imported everything: eight imports would take seconds.
    context = get_context("forkserver")
    context.set_forkserver_preload(["store_leases"])
    with context.Pool(len(leasings)) as pool:
        return pool.map(lease_all, leasings, chunksize=1)
