"""The one way through which creates and reads pass.

Slots are leased from the database, and a refusal shuts the gate for everybody.

A process leases slots a fraction of a second ahead, sleeps to each, and passes aiolimiter as a belt
behind it. A slot missed by more than its allowance is given up, never caught up. What is learned
goes back into the row by compare-and-set (`core.pacing`, `core.learning`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from random import Random

from aiolimiter import AsyncLimiter
from msgspec import Struct
from msgspec.structs import replace

from runner.core.budget import (
    FREE,
    Answered,
    Budget,
    Event,
    GivenUp,
    Lifted,
    Measured,
    Refused,
    RunFailed,
    Source,
    known,
    paced,
)
from runner.core.learning import learn
from runner.core.limits import limits_of
from runner.core.pacing import (
    Lease,
    Look,
    Repair,
    Wait,
    jumped,
    late,
    lateness_allowed,
    next_move,
    slice_s,
    spread_of,
)
from runner.work.ledger import Ledger

MEASURE_EVERY = 100
KEPT_DISPLACED = 1000
FLAG_STALE_S = 5.0
"""A limit given by a flag holds for others while somebody leased under it so recently."""
MARK_EVERY_S = 0.1
MOST_AHEAD = 256
"""Permits that are leased at most for those who do not wait yet."""
FEW = 2
"""Permits that are leased at once before anything was answered."""
BELT = 0.8
AT_ONCE_S = 0.2
"""The least wait after a refusal for too many runs at once that names none."""

WINDOW_DIFFERS = 1.06
"""Of two windows that are the same but for rounding."""


class Slot(Struct, frozen=True):
    """One permit: its instant on the event loop's clock and on the database's, and its number."""

    at_s: float
    db_s: float = 0.0
    seq: int = 0


class Gate:
    """One budget as this process sees it. `run` keeps it supplied; everything is on one loop.

    `limit` and `window_s` are what the user gave, None for a limit to be learned.
    """

    def __init__(
        self,
        kind: str,
        ledger: Ledger,
        *,
        limit: float | None,
        window_s: float | None,
        rng: Random,
        warn: Callable[[str], None],
    ) -> None:
        self.kind = kind
        self.limit = limit
        self.window_s = window_s
        self.processes = 1
        # Reads without a limit need no slots: they go on while the database is locked.
        self.unbounded = kind == "reads" and limit is None
        self.row = Budget()
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._rng = rng
        self._warn = warn
        self._slots: deque[Slot] = deque()
        self._waiters: deque[asyncio.Future[Slot | None]] = deque()
        self._events: list[Event] = []
        self._work = asyncio.Event()
        self._more = asyncio.Event()
        self._stopped = False
        self._shut_until = 0.0
        self._offset: float | None = None
        self._used = 0
        self._displaced: deque[float] = deque(maxlen=KEPT_DISPLACED)
        self._measured = 0
        self._marked_at = 0.0
        self._told_window = False
        self._belt: AsyncLimiter | None = None
        self._belt_step = 0.0

    # What the steps of the work ask

    @property
    def waiting(self) -> int:
        """How many wait for a slot now."""
        return len(self._waiters)

    @property
    def shut_for_s(self) -> float:
        """How long the gate stays shut from now, 0 when it is open."""
        return max(0.0, self._shut_until - self._loop.time())

    async def permit(self) -> Slot | None:
        """Wait for a slot; None once the gate was stopped (drain)."""
        if self._stopped:
            return None
        if self.unbounded and self.row.source is None and self.shut_for_s == 0:
            return Slot(self._loop.time())
        if not self._waiters:
            slot = self._take_due()
            if slot is not None:
                return slot
        future: asyncio.Future[Slot | None] = self._loop.create_future()
        self._waiters.append(future)
        self._work.set()
        return await future

    def answered(self, slot: Slot | None, headers: Mapping[str, str]) -> None:
        """Learn from an answer that was admitted."""
        if slot is None:
            return
        now = self._loop.time()
        self._displaced.append(now - slot.at_s)
        limits = limits_of(headers)
        if limits is None and now - self._marked_at < MARK_EVERY_S and self.row.source is not None:
            return
        if limits is None and self.row.source is None and now - self._marked_at < MARK_EVERY_S:
            return
        self._marked_at = now
        if limits is not None and self.limit is not None and self.row.win is not None:
            self._compare_windows(limits.reset or 0.0)
        middle = slot.db_s + (now - slot.at_s) / 2
        self._hear(Answered(slot.db_s, slot.seq, middle, limits))
        self._measured += 1
        if self._measured % MEASURE_EVERY == 0 and self.row.win is not None:
            self._hear(Measured(spread_of(tuple(self._displaced), self.row.win)))

    def refused(
        self,
        slot: Slot | None,
        wait_s: float | None,
        headers: Mapping[str, str],
        *,
        concurrency: bool = False,
    ) -> None:
        """Shut the gate for everybody, and learn from the refusal.

        `concurrency` teaches no rate, and what refusals taught of one before is undone.
        """
        now = self._loop.time()
        if concurrency:
            self._hear(Lifted())
        if slot is None or concurrency:
            # A ceiling shuts the gate for as long as its signs in a row ask for.
            unsaid_s = AT_ONCE_S if concurrency else 1.0
            self.shut(wait_s if wait_s is not None else unsaid_s, "refused")
            return
        if wait_s is not None:
            self._shut_until = max(self._shut_until, now + wait_s)
        at = slot.db_s + (now - slot.at_s)
        self._hear(Refused(slot.db_s, slot.seq, at, wait_s, self._rng.random(), limits_of(headers)))
        self._work.set()

    def run_failed(self, duration_s: float, wait_s: float | None) -> None:
        """Learn from a run that ended failed, rate_limit_exceeded."""
        at = self._loop.time() + (self._offset or 0.0)
        self._hear(RunFailed(at - duration_s, at, duration_s, wait_s))
        self._work.set()

    def shut(self, wait_s: float, why: str) -> None:
        """Shut the gate for everybody for a time, learning nothing."""
        self._shut_until = max(self._shut_until, self._loop.time() + wait_s)
        self._ledger.close(wait_s, why)

    def stop(self) -> None:
        """Let no one through any more: everybody who waits gets None."""
        self._stopped = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
        self._work.set()

    # Supplying slots

    async def begin(self) -> None:
        """Read the row, and put what the user gave into it."""
        row = await self._ledger.look()
        self.row = row.budget
        used_now = row.db_now - row.leased_at < FLAG_STALE_S
        if self.limit is not None:
            window = self.window_s or 60.0
            given = known(self.limit, window)
            theirs = self.row
            if theirs.source is Source.FLAG and used_now and _differ(theirs, given):
                mine, other = (
                    self.limit * 60 / window,
                    (theirs.lim or 0) * 60 / (theirs.win or 60),
                )
                self._warn(
                    f"--rpm {mine:g} differs from {other:g} that another process goes by; "
                    "the lower one holds"
                )
                given = theirs if other < mine else given
            if given is not theirs and (
                theirs.source is not Source.FLAG
                or theirs.lim != given.lim
                or theirs.win != given.win
            ):
                await self._ledger.save(theirs, given)
        elif self.row.source is Source.FLAG and not used_now:
            await self._ledger.save(self.row, Budget())
        self.row = (await self._ledger.look()).budget

    async def run(self) -> None:
        """Lease slots while they are wanted, and hand them out; until cancelled."""
        await self.begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leasing())
            group.create_task(self._handing_out())

    async def _leasing(self) -> None:
        last_offset: float | None = None
        while not self._stopped:
            wanted = self._wanted()
            if wanted <= 0 and not self._events:
                self._work.clear()
                if self._wanted() <= 0 and not self._events:
                    try:
                        async with asyncio.timeout(slice_s(self.processes) * 4):
                            await self._work.wait()
                    except TimeoutError:
                        continue
                continue
            asked = self._loop.time()
            seen = await self._ledger.look()
            heard = self._loop.time()
            offset = seen.db_now - heard
            was_set = last_offset is not None and jumped(offset, last_offset, heard - asked)
            self._offset = offset
            await self._learn(seen.budget)
            self._see_closure(seen.budget, heard)
            look = Look(
                seen.tat,
                self.row.closed_until,
                self.row.closed_for,
                self.row.version,
                seen.db_now,
                self.row.step,
            )
            move = next_move(
                look,
                max(wanted, 0),
                processes=self.processes,
                jumped=was_set,
                chance=self._rng.random(),
            )
            if isinstance(move, Lease):
                # A look that leased nothing must not forget the hold that it owes.
                last_offset = offset
            await self._make(move)

    def _wanted(self) -> int:
        """How many permits to lease: for who waits, and for who will where one unused is no loss.

        Without that a job waits for a lease of its own, which was half of the time that it took of
        a server that answers at once, and a lease carried a dozen.
        """
        if self._shut_until > self._loop.time() + 1.0:
            return 0
        wanted = len(self._waiters)
        if self.row.source is None:
            if self.row.step <= FREE:
                wanted += min(2 * self._used, MOST_AHEAD)
            else:
                # Nothing was answered yet: what is leased now keeps its slow pace after that.
                wanted = min(wanted, FEW)
        ahead = len(self._slots)
        if ahead >= wanted:
            return 0
        self._used = 0
        return wanted - ahead

    async def _make(self, move: Lease | Wait | Repair) -> None:
        match move:
            case Repair(closed_until):
                await self._ledger.repair(closed_until)
            case Wait(seconds):
                self._work.clear()
                if self._events:
                    return
                try:
                    async with asyncio.timeout(max(0.002, min(seconds, 0.5))):
                        await self._work.wait()
                        # Somebody new waits; the row is not asked more often than this for it.
                        await asyncio.sleep(0.005)
                except TimeoutError:
                    return
            case Lease():
                leased = await self._ledger.lease(move)
                now = self._loop.time()
                if leased is None:
                    return
                for k in range(move.permits):
                    db_s = leased.first + k * leased.step
                    at = now + max(0.0, db_s - leased.leased_at)
                    self._slots.append(Slot(at, db_s, leased.first_seq + k))
                self._more.set()
                last = self._slots[-1].at_s if self._slots else now
                pause = last + self.row.step - now - 2 * slice_s(self.processes)
                if pause > 0:
                    await asyncio.sleep(min(pause, 1.0))

    async def _handing_out(self) -> None:
        while True:
            while self._waiters and self._waiters[0].done():
                self._waiters.popleft()
            if not self._waiters or not self._slots:
                self._more.clear()
                if not self._waiters:
                    self._work.clear()
                    await self._work.wait()
                else:
                    self._work.set()
                    await self._more.wait()
                continue
            slot = self._slots[0]
            pause = slot.at_s - self._loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
                await self._pass_belt()
            taken = self._take_due()
            if taken is None:
                continue
            if not self._give(taken):
                self._slots.appendleft(taken)

    async def _pass_belt(self) -> None:
        """Pass aiolimiter behind the slot: a second, independent bound on what leaves."""
        step = self.row.step
        if step < 0.002:
            return
        if self._belt is None or abs(step - self._belt_step) > 0.01 * self._belt_step:
            self._belt, self._belt_step = AsyncLimiter(1, BELT * step), step
        await self._belt.acquire()

    def _take_due(self) -> Slot | None:
        """Return the next slot that is due, giving up those that were missed or shut out."""
        now = self._loop.time()
        allowed = lateness_allowed(self.row.spread)
        while self._slots:
            slot = self._slots[0]
            if late(slot.at_s, now, allowed) or slot.at_s < self._shut_until:
                self._slots.popleft()
                if self.row.source is not Source.FLAG:
                    self._events.append(GivenUp(slot.db_s, slot.seq))
                continue
            if slot.at_s > now or now < self._shut_until:
                return None
            self._slots.popleft()
            self._used += 1
            if len(self._slots) < 4:
                self._work.set()
            return slot
        return None

    def _give(self, slot: Slot) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(slot)
                return True
        return False

    # Learning

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        unknown = self.row.source is None and self.row.step > FREE
        if unknown or isinstance(event, (Refused, RunFailed)) or len(self._events) > 50:
            self._work.set()

    async def _learn(self, seen: Budget) -> None:
        """Fold what was heard since into the row; a race lost is folded again into what won."""
        self.row = seen
        events, self._events = self._events, []
        if not events:
            return
        for _ in range(8):
            row = self.row
            for event in events:
                row = self._hold_window(learn(row, event))
            if row == self.row or await self._ledger.save(self.row, row):
                self.row = row
                return
            self.row = (await self._ledger.look()).budget

    def _compare_windows(self, told_s: float) -> None:
        """Tell of a window that the user gave and that the server's headers speak against."""
        mine = self.window_s or self.row.win
        if self._told_window or mine is None or told_s <= mine * WINDOW_DIFFERS:
            return
        self._told_window = True
        self._warn(
            f"--window {mine:g} is shorter than the server's own, whose headers speak of "
            f"{told_s:.0f} s: refusals are likely; give the limit over its window"
        )

    def _hold_window(self, row: Budget) -> Budget:
        """Keep the longer of the window that was learned and the one that the user gave."""
        given, learned = self.window_s, row.win
        if given is None or learned is None or row.source is not Source.HEADER:
            return row
        if not self._told_window and abs(given - learned) > (WINDOW_DIFFERS - 1) * given:
            self._told_window = True
            self._warn(
                f"--window {given:g} differs from the {learned:g} s that the server's headers "
                "tell; the longer holds"
            )
        return paced(replace(row, win=given)) if given > learned else row

    def _see_closure(self, row: Budget, now: float) -> None:
        if self._offset is None:
            return
        until = row.closed_until - self._offset
        if until > now:
            self._shut_until = max(min(self._shut_until, until + 1.0), until)


def _differ(one: Budget, two: Budget) -> bool:
    """Whether two limits that were given admit different rates."""
    if not (one.lim and one.win and two.lim and two.win):
        return False
    return abs(one.lim / one.win - two.lim / two.win) > 1e-9
