"""How far ahead a process leases permits: nothing that a limit counts is leased to lie idle."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from runner.core.pacing import Lease
from runner.store.store import Store
from runner.work.gate import FEW, Gate
from runner.work.ledger import Leased, Ledger


class Counting(Ledger):
    """Counts the leases and the permits in them."""

    leases = 0
    permits = 0

    async def lease(self, move: Lease) -> Leased | None:
        """Lease, and count what was leased."""
        leased = await super().lease(move)
        if leased is not None:
            self.leases += 1
            self.permits += move.permits
        return leased


def at_gate(
    folder: Path, limit: float | None, body: Callable[[Gate, Counting], Awaitable[None]]
) -> None:
    """Run `body` beside a gate that is kept supplied from a real database."""
    store = Store.open(str(folder / "runner.db"))
    warnings: list[str] = []

    async def main() -> None:
        with ThreadPoolExecutor(1) as thread:
            ledger = Counting(store, thread, "account", "creates")
            gate = Gate(
                "creates",
                ledger,
                limit=limit,
                window_s=None,
                rng=Random(1),
                warn=warnings.append,
            )
            supplied = asyncio.create_task(gate.run())
            async with asyncio.timeout(60):
                await body(gate, ledger)
            supplied.cancel()
            await asyncio.gather(supplied, return_exceptions=True)

    asyncio.run(main())
    store.close()
    assert warnings == []


def test_where_no_limit_is_known_one_lease_serves_those_who_come_next(tmp_path: Path) -> None:
    async def body(gate: Gate, ledger: Counting) -> None:
        for _ in range(400):
            slot = await gate.permit()
            gate.answered(slot, {})
        # One at a time waits: each would have a lease of its own.
        assert ledger.leases < 100

    at_gate(tmp_path, None, body)


def test_under_a_limit_no_permit_is_leased_that_nobody_waits_for(tmp_path: Path) -> None:
    async def body(gate: Gate, ledger: Counting) -> None:
        for _ in range(60):
            slot = await gate.permit()
            gate.answered(slot, {})
        assert ledger.permits == 60

    at_gate(tmp_path, 12_000, body)


def test_before_the_first_answer_little_is_leased_at_the_slow_pace(tmp_path: Path) -> None:
    async def body(gate: Gate, ledger: Counting) -> None:
        taken = 0

        async def take() -> None:
            nonlocal taken
            await gate.permit()
            taken += 1
            assert ledger.permits <= taken + FEW

        await asyncio.gather(*(take() for _ in range(20)))

    at_gate(tmp_path, None, body)
