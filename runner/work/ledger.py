"""One budget's row, asked from the event loop: each call runs in one thread beside the loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from runner.core.budget import Budget, Source, memory_from_json, memory_to_json
from runner.core.pacing import Lease
from runner.store.budgets import BudgetRow
from runner.store.store import Store


class Seen(Struct, frozen=True):
    """A look at the row: what is learned, the first free slot, and the database's clock."""

    budget: Budget
    tat: float
    leased_at: float
    db_now: float


class Leased(Struct, frozen=True):
    """Permits leased: the first slot, the spacing, when, and the number granted before them."""

    first: float
    step: float
    leased_at: float
    first_seq: int


class Ledger:
    """The row of one account and kind. Made in the thread that the calls run in."""

    def __init__(self, store: Store, thread: ThreadPoolExecutor, account: str, kind: str) -> None:
        self._store = store
        self._thread = thread
        self._account = account
        self._kind = kind
        self._id: int | None = None

    def _row(self) -> int:
        if self._id is None:
            self._id = self._store.budget(self._account, self._kind, step=Budget().step)
        return self._id

    async def look(self) -> Seen:
        """Return the row as it stands."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._look)

    def _look(self) -> Seen:
        row = self._store.budget_look(self._row())
        return Seen(budget_of(row), row.tat, row.leased_at, row.db_now)

    async def lease(self, move: Lease) -> Leased | None:
        """Run the lease statement; None: too far ahead, come back."""

        def verb() -> Leased | None:
            got = self._store.budget_lease(
                self._row(), move.permits, hold=move.hold, horizon=move.horizon, clamp=move.clamp
            )
            if got is None:
                return None
            return Leased(got.first, got.step, got.leased_at, int(got.first_seq))

        return await asyncio.get_running_loop().run_in_executor(self._thread, verb)

    async def save(self, before: Budget, after: Budget) -> bool:
        """Write what was learned by compare-and-set on the version; False: a race was lost."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._save, before, after)

    def _save(self, before: Budget, after: Budget) -> bool:
        return self._store.budget_save(
            self._row(),
            before.version,
            step=after.step,
            lim=after.lim,
            win=after.win,
            source=after.source.value if after.source else "",
            others=after.others,
            spread=after.spread,
            opened_at=after.opened_at,
            opened_seq=after.opened_seq,
            cut_at=after.cut_at,
            closed_until=after.closed_until,
            closed_for=after.closed_for,
            memory=memory_to_json(after.memory),
        )

    def post(self, before: Budget, after: Budget) -> None:
        """Write what was learned, without waiting; a race lost is let go."""
        self._thread.submit(lambda: self._save(before, after))

    def tell(self, known: Budget) -> None:
        """Put a limit and its step into the row as it stands, without waiting."""

        def verb() -> None:
            seen = self._look().budget
            memory = replace(seen.memory, strict=max(seen.memory.strict, known.memory.strict))
            told = replace(seen, step=known.step, lim=known.lim, win=known.win, memory=memory)
            self._save(seen, replace(told, source=known.source))

        self._thread.submit(verb)

    async def repair(self, closed_until: float) -> None:
        """Rewrite a gate that a clock set back has left shut for too long."""
        seen = await self.look()
        fixed = replace(seen.budget, closed_until=closed_until)
        await self.save(seen.budget, fixed)

    def close(self, wait_s: float, why: str) -> None:
        """Shut the gate for every process, without waiting for it."""
        self._thread.submit(lambda: self._store.budget_close(self._row(), wait_s, why))

    def correct(self, seconds: float) -> None:
        """Move the first free slot, without waiting for it."""
        self._thread.submit(lambda: self._store.budget_correct(self._row(), seconds))


def budget_of(row: BudgetRow) -> Budget:
    """Return the learnt part of a budget's row."""
    return Budget(
        step=row.step,
        lim=row.lim,
        win=row.win,
        source=Source(row.source) if row.source else None,
        others=row.others,
        spread=row.spread,
        opened_at=row.opened_at,
        opened_seq=row.opened_seq,
        cut_at=row.cut_at,
        closed_until=row.closed_until,
        closed_for=row.closed_for,
        version=row.version,
        memory=memory_from_json(row.memory),
    )
