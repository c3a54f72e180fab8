"""Processes that lease permits from one budget, as workers do.

Run as a program it imports once and forks: eight imports of SQLAlchemy would take seconds. The
tests' own process has threads, so it does not fork itself.
"""

import json
import sys
from multiprocessing import get_context

from forked import PIPE, Forked

from runner.store import budgets
from runner.store.budgets import Ahead, Leased
from runner.store.light import LightWriter
from runner.store.patience import Trouble
from runner.store.place import place_of

FAR = Ahead(hold=0.0, horizon=1000.0, clamp=2000.0)

Row = tuple[float, float, float, int]


def in_processes(url: str, budget_id: int, *, processes: int, leases: int, n: int) -> list[Leased]:
    """Have so many processes take so many leases of n permits each, all at once."""
    done = Forked("store_leases", url, budget_id, processes, leases, n, stdout=PIPE)
    rows: list[Row] = json.loads(done.communicate(timeout=60)[0])
    return [Leased(*row) for row in rows]


def lease_all(url: str, budget_id: int, leases: int, n: int) -> list[Row]:
    light = LightWriter(place_of(url), Trouble(lambda _line: None))
    got: list[Row] = []
    for _ in range(leases):
        one = light.run(lambda connection: budgets.lease(connection, budget_id, n, FAR))
        assert one is not None
        got.append((one.first, one.step, one.leased_at, one.first_seq))
    light.close()
    return got


def main(url: str, budget_id: int, processes: int, leases: int, n: int) -> None:
    with get_context("fork").Pool(processes) as pool:
        works = [(url, budget_id, leases, n)] * processes
        print(json.dumps([row for rows in pool.starmap(lease_all, works, 1) for row in rows]))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
