"""A world in virtual time for budgets: servers that limit, a network, processes that lease slots.

The lease is the statement of the store's budgets, in words; the rest is the code under test.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Literal

from runner.core.budget import Answered, Budget, Event, GivenUp, Measured, Refused
from runner.core.learning import learn
from runner.core.limits import Limits
from runner.core.pacing import (
    Lease,
    Look,
    Repair,
    Wait,
    late,
    lateness_allowed,
    next_move,
    spread_of,
)

Tells = Literal["headers", "retry-after", "nothing"]


@dataclass
class Row:
    """What the lease statement reads and writes."""

    budget: Budget
    tat: float = 0.0
    seq: int = 0

    def look(self, now: float) -> Look:
        b = self.budget
        return Look(self.tat, b.closed_until, b.closed_for, b.version, now, b.step)

    def lease(self, now: float, move: Lease) -> tuple[float, int] | None:
        """Return the first slot and its seq, or None: too far ahead."""
        tat = now + move.horizon if self.tat > now + move.clamp else self.tat
        base = max(tat, now + move.hold, self.budget.closed_until)
        if base > now + move.hold + move.horizon:
            return None
        self.tat = base + move.permits * self.budget.step
        self.seq += move.permits
        return base, self.seq - move.permits


@dataclass
class Server:
    """Admits `limit` calls in `window` seconds; refused calls do not count.

    `chance`: refuses one call in three by chance, at any rate, and asks to wait for 150 ms.
    """

    kind: Literal["log", "fixed", "bucket", "chance"]
    tells: Tells
    limit: int
    window: float
    phase: float = 0.0
    hits: deque[float] = field(default_factory=deque)
    tokens: float = -1.0
    filled: float = 0.0
    refuses: int = 0
    """So many first calls, whatever their rate, with a wait of two seconds."""
    dice: Random = field(default_factory=lambda: Random(3))

    def call(self, now: float) -> tuple[bool, float, Limits]:
        """Return whether it is admitted, the wait if not, and what the headers would say."""
        if self.refuses > 0:
            self.refuses -= 1
            return False, 2.0, Limits(self.limit, 0, 2.0)
        if self.kind == "chance":
            return self.dice.random() >= 1 / 3, 0.15, Limits(self.limit, 0, 0.15)
        if self.kind == "bucket":
            return self._bucket(now)
        passed = self.window if self.kind == "log" else (now + self.phase) % self.window
        start = now - passed
        while self.hits and self.hits[0] <= start:
            self.hits.popleft()
        admitted = len(self.hits) < self.limit
        if admitted:
            self.hits.append(now)
        leaves = self.hits[0] if self.kind == "log" else start
        reset = leaves + self.window - now
        return admitted, reset, Limits(self.limit, max(0, self.limit - len(self.hits)), reset)

    def _bucket(self, now: float) -> tuple[bool, float, Limits]:
        rate = self.limit / self.window
        if self.tokens < 0:
            self.tokens, self.filled = float(self.limit), now
        self.tokens = min(self.limit, self.tokens + (now - self.filled) * rate)
        self.filled = now
        admitted = self.tokens >= 1
        if admitted:
            self.tokens -= 1
        reset = (self.limit - self.tokens) / rate
        return admitted, (1 - self.tokens) / rate, Limits(self.limit, int(self.tokens), reset)


@dataclass(frozen=True)
class Sent:
    slot: float
    at: float
    admitted: bool


@dataclass
class World:
    """One row, one server, `processes` that lease; `run` returns what was sent."""

    server: Server
    row: Row
    rng: Random
    processes: int = 1
    far: bool = True
    concurrency: int = 200
    run_s: float = 0.3
    sent: list[Sent] = field(default_factory=list)
    displaced: list[float] = field(default_factory=list)

    def learn(self, event: Event) -> None:
        self.row.budget = learn(self.row.budget, event)

    def latency(self) -> float:
        if self.far:
            return min(0.2, max(0.005, self.rng.lognormvariate(-3.5066, 0.8)))
        return min(0.02, max(0.0005, self.rng.lognormvariate(-6.2146, 0.8)))

    def run(self, until: float, rival: Iterable[float] = ()) -> list[Sent]:
        """`rival` are the instants at which a second client calls the same server."""
        order = count()
        heap: list[tuple[float, int, Callable[[float], None]]] = []
        flight, ceiling = 0, 4

        def at(when: float, what: Callable[[float], None]) -> None:
            heapq.heappush(heap, (when, next(order), what))

        def leasing(now: float) -> None:
            nonlocal flight
            ready = min(self.concurrency, ceiling) - flight
            chance = self.rng.random()
            look = self.row.look(now)
            move = next_move(look, ready, processes=self.processes, jumped=False, chance=chance)
            assert not isinstance(move, Repair), "the clock was never set"
            if isinstance(move, Wait):
                at(now + max(0.001, move.seconds if ready else 0.02), leasing)
                return
            leased = self.row.lease(now, move)
            if leased is None:
                at(now + 0.02, leasing)
                return
            first, seq = leased
            step = self.row.budget.step
            flight += move.permits
            for k in range(move.permits):
                slot = first + k * step
                at(slot + self.rng.expovariate(1 / 0.0008), sending(slot, seq + k))
            last = first + move.permits * step
            at(max(now + 0.002, last - move.horizon), leasing)

        def sending(slot: float, seq: int) -> Callable[[float], None]:
            def send(now: float) -> None:
                nonlocal flight
                budget = self.row.budget
                if now < budget.closed_until or late(slot, now, lateness_allowed(budget.spread)):
                    flight -= 1
                    self.learn(GivenUp(slot, seq))
                    return
                at(now + self.latency(), arriving(slot, seq))

            return send

        def arriving(slot: float, seq: int) -> Callable[[float], None]:
            def arrive(now: float) -> None:
                admitted, wait, limits = self.server.call(now)
                self.sent.append(Sent(slot, now, admitted))
                told = limits if self.server.tells == "headers" else None
                heard = admit(slot, seq, told) if admitted else refuse(slot, seq, wait, told)
                at(now + self.latency(), heard)

            return arrive

        def admit(slot: float, seq: int, told: Limits | None) -> Callable[[float], None]:
            def answer(now: float) -> None:
                self.learn(Answered(slot, seq, (slot + now) / 2, told))
                self.displaced.append(now - slot)
                if len(self.displaced) % 100 == 0 and self.row.budget.win:
                    spread = spread_of(self.displaced, self.row.budget.win)
                    self.learn(Measured(spread))
                at(now + self.run_s, ended)

            return answer

        def refuse(
            slot: float, seq: int, wait: float, told: Limits | None
        ) -> Callable[[float], None]:
            def answer(now: float) -> None:
                nonlocal flight
                flight -= 1
                hint = None if self.server.tells == "nothing" else wait
                self.learn(Refused(slot, seq, now, hint, self.rng.random(), told))

            return answer

        def ended(_now: float) -> None:
            nonlocal flight, ceiling
            flight -= 1
            ceiling += 1

        def rivals(now: float) -> None:
            self.server.call(now)

        for k in range(self.processes):
            at(0.013 * k, leasing)
        for when in rival:
            at(when, rivals)
        while heap and heap[0][0] < until:
            now, _, what = heapq.heappop(heap)
            what(now)
        return self.sent


def use(sent: list[Sent], since: float, until: float, limit: float, window: float) -> float:
    """Return the share of the limit that was admitted in a time."""
    n = sum(call.admitted for call in sent if since <= call.at < until)
    return n / ((until - since) / window * limit)


def refused_share(sent: list[Sent], since: float = 0.0, until: float = 1e9) -> float:
    calls = [call for call in sent if since <= call.at < until]
    return sum(not call.admitted for call in calls) / max(1, len(calls))


def fullest(sent: list[Sent], window: float) -> int:
    """Return the most calls that arrived in any half-open window."""
    return fullest_of([call.at for call in sent], window)


def fullest_of(instants: Iterable[float], window: float) -> int:
    times = sorted(instants)
    most, start = 0, 0
    for place, at in enumerate(times):
        while times[start] <= at - window:
            start += 1
        most = max(most, place - start + 1)
    return most
