"""Tokens a minute: each job reserves what it is likely to use, first in, first out.

Nothing is reserved, and the database is not asked, while no limit is known: neither --tpm, nor a
header or a refusal that names one.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from random import Random

import msgspec
from msgspec.structs import replace

from runner.core.budget import Budget, Source
from runner.core.limits import limits_of, token_limit_said
from runner.core.marks import noted
from runner.core.model import Job, Usage
from runner.core.pacing import Lease, Look, Repair, Wait, next_move
from runner.core.token_learning import given, heard, refused
from runner.core.tokens import alone, correction, estimate, likely, reserve
from runner.core.waits import backoff
from runner.work.ledger import Ledger

HISTORY = 200
MARK_EVERY_S = 1.0
REMEMBERED = 10_000


class _Caps(msgspec.Struct):
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None


def likely_tokens(body: bytes) -> float:
    """Return the tokens that a create with this body speaks of."""
    try:
        caps = msgspec.json.decode(body, type=_Caps)
    except msgspec.MsgspecError:
        caps = _Caps()
    return likely(len(body), caps.max_prompt_tokens, caps.max_completion_tokens)


class TokenGate:
    """The tokens budget of an account: `permit` before a create, `correct` with its usage.

    `limit` is what the user gave for any `window_s` seconds, None for one to be learned.
    """

    def __init__(
        self, ledger: Ledger, *, limit: float | None, window_s: float, rng: Random
    ) -> None:
        self.limit = limit
        self.window_s = window_s
        self.processes = 1
        self.row = Budget() if limit is None else given(limit, window_s)
        self._ledger = ledger
        self._rng = rng
        self._turn = asyncio.Lock()
        self._stop = asyncio.Event()
        self._history: dict[int, deque[float]] = {}
        self._too_small: set[int] = set()
        self._in_row = 0
        self._loop = asyncio.get_running_loop()
        self._shut_until = 0.0
        self._marked_at = 0.0
        self._begun = False

    @property
    def holds_back(self) -> bool:
        """Whether a job waits for tokens now."""
        return self._turn.locked() or self._loop.time() < self._shut_until

    def estimate(self, job: Job) -> float:
        """Return the tokens to reserve for a job, at most a whole window's."""
        asks = likely_tokens(job.body)
        guess = estimate(asks, tuple(self._history.get(job.lane, ())))
        if job.id in self._too_small:
            guess = max(guess, asks)
        return guess if self.row.lim is None else alone(guess, self.row.lim)

    async def permit(self, tokens: float) -> float | None:
        """Wait for this many tokens, in turn; return when they were reserved (loop's clock).

        None once the gate was stopped (drain).
        """
        if not self._begun:
            await self._begin()
        while (pause := self._shut_until - self._loop.time()) > 0 and not self._stop.is_set():
            await self._pause(pause)
        if self.row.lim is None:
            return None if self._stop.is_set() else self._loop.time()
        async with self._turn:
            slot: float | None = None
            while slot is None:
                if self._stop.is_set():
                    return None
                slot = await self._try(tokens)
            await self._pause(slot - self._loop.time())
            return None if self._stop.is_set() else self._loop.time()

    def stop(self) -> None:
        """Let no one through any more: everybody who waits gets None."""
        self._stop.set()

    async def _begin(self) -> None:
        """Put what the user gave into the row, or take what was learned before."""
        self._begun = True
        seen = (await self._ledger.look()).budget
        if self.limit is not None:
            if (seen.lim, seen.win, seen.source) != (self.limit, self.window_s, Source.FLAG):
                await self._ledger.save(seen, self.row)
        elif seen.source is Source.HEADER:
            self.row = seen

    async def _try(self, tokens: float) -> float | None:
        """Lease once, or wait for a while; return the slot on the loop's clock."""
        seen = await self._ledger.look()
        budget = seen.budget
        look = Look(
            seen.tat,
            budget.closed_until,
            budget.closed_for,
            budget.version,
            seen.db_now,
            self.row.step,
        )
        move = next_move(
            look,
            max(1, round(tokens)),
            processes=self.processes,
            jumped=False,
            chance=self._rng.random(),
            token_window=self.row.win or self.window_s,
        )
        match move:
            case Wait(seconds):
                await self._pause(max(0.002, seconds))
            case Repair(closed_until):
                await self._ledger.repair(closed_until)
            case Lease():
                return await self._lease(move, tokens, budget)
        return None

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _lease(self, move: Lease, tokens: float, seen: Budget) -> float | None:
        leased = await self._ledger.lease(move)
        if leased is None:
            return None
        place = reserve(leased.first, tokens, self.row.step, self.row.lim or tokens)
        behind = place.tat - (leased.first + tokens * self.row.step)
        if behind > 0:
            self._ledger.correct(behind)
        now = self._loop.time()
        if now - self._marked_at > MARK_EVERY_S:
            self._marked_at = now
            last = leased.first_seq + move.permits - 1
            self._keep(seen, marks_at=(place.slot, last))
        return now + place.slot - leased.leased_at

    def _keep(self, seen: Budget, *, marks_at: tuple[float, int] | None = None) -> None:
        """Write what is known into the row, without waiting; a race lost is told again later."""
        row, memory = self.row, seen.memory
        if marks_at is not None:
            memory = replace(memory, marks=noted(memory.marks, *marks_at, row.win))
        memory = replace(memory, strict=max(memory.strict, row.memory.strict))
        known = replace(
            seen, step=row.step, lim=row.lim, win=row.win, source=row.source, memory=memory
        )
        self._ledger.post(seen, known)

    def answered(self, headers: Mapping[str, str]) -> None:
        """Learn the limit from an answer that was admitted."""
        self._in_row = 0
        if self.row.source is Source.FLAG:
            return
        limits = limits_of(headers, "tokens")
        if limits is None:
            return
        before = self.row
        self.row = heard(before, self._loop.time(), limits)
        if (self.row.lim, self.row.win) != (before.lim, before.win):
            self._ledger.tell(self.row)

    def refused(self, job: Job, wait_s: float | None, message: str) -> None:
        """Shut the gate for everybody; the job asks for all that it speaks of from now on."""
        self._in_row += 1
        if len(self._too_small) < REMEMBERED:
            self._too_small.add(job.id)
        wait = wait_s if wait_s is not None else backoff(self._in_row, self._rng.random())
        self._shut_until = max(self._shut_until, self._loop.time() + wait)
        self.row = refused(self.row, token_limit_said(message), self.window_s)
        self._ledger.tell(self.row)
        self._ledger.close(wait, "the tokens' limit was met")

    def correct(self, job: Job, reserved: float, at_s: float, usage: Usage | None) -> None:
        """Give back, or take, the difference between what was reserved and what was used."""
        if usage is None:
            return
        history = self._history.setdefault(job.lane, deque(maxlen=HISTORY))
        history.append(usage.total / likely_tokens(job.body))
        self._too_small.discard(job.id)
        if self.row.lim is None:
            return
        age = self._loop.time() - at_s
        window = self.row.win or self.window_s
        seconds = correction(reserved, usage.total, self.row.step, age, window)
        if seconds:
            self._ledger.correct(seconds)
