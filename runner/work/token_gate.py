"""Tokens a minute: each job reserves what it is likely to use, first in, first out."""

import asyncio
from collections import deque
from collections.abc import Sequence
from random import Random

import msgspec

from runner.core.model import Job, Usage
from runner.core.pacing import Lease, Look, Repair, Wait, next_move
from runner.core.tokens import alone, correction, estimate, reserve, token_step
from runner.work.ledger import Ledger

HISTORY = 200


class _Caps(msgspec.Struct):
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None


def guessed_tokens(body: bytes, history: Sequence[int]) -> float:
    """Return the tokens that a create with this body is likely to use."""
    try:
        caps = msgspec.json.decode(body, type=_Caps)
    except msgspec.MsgspecError:
        caps = _Caps()
    return estimate(len(body), history, caps.max_prompt_tokens, caps.max_completion_tokens)


class TokenGate:
    """The tokens budget of an account: `permit` before a create, `correct` with its usage."""

    def __init__(self, ledger: Ledger, *, limit: float, window_s: float, rng: Random) -> None:
        self.limit = limit
        self.window_s = window_s
        self.processes = 1
        self._ledger = ledger
        self._rng = rng
        self._turn = asyncio.Lock()
        self._history: dict[int, deque[int]] = {}
        self._loop = asyncio.get_running_loop()
        self._step = token_step(limit, window_s)
        self._ready = False

    def estimate(self, job: Job) -> float:
        """Return the tokens to reserve for a job, at most a whole window's."""
        guess = guessed_tokens(job.body, tuple(self._history.get(job.lane, ())))
        return alone(guess, self.limit)

    async def permit(self, tokens: float) -> float:
        """Wait for this many tokens, in turn; return when they were reserved (loop's clock)."""
        async with self._turn:
            if not self._ready:
                await self._ledger.set_step(self._step)
                self._ready = True
            slot: float | None = None
            while slot is None:
                seen = await self._ledger.look()
                look = Look(
                    seen.tat,
                    seen.budget.closed_until,
                    seen.budget.closed_for,
                    seen.budget.version,
                    seen.db_now,
                    self._step,
                )
                move = next_move(
                    look,
                    max(1, round(tokens)),
                    processes=self.processes,
                    jumped=False,
                    chance=self._rng.random(),
                    token_window=self.window_s,
                )
                match move:
                    case Wait(seconds):
                        await asyncio.sleep(max(0.002, seconds))
                    case Repair(closed_until):
                        await self._ledger.repair(closed_until)
                    case Lease():
                        slot = await self._lease(move, tokens)
            await asyncio.sleep(max(0.0, slot - self._loop.time()))
            return self._loop.time()

    async def _lease(self, move: Lease, tokens: float) -> float | None:
        leased = await self._ledger.lease(move)
        if leased is None:
            return None
        place = reserve(leased.first, tokens, self._step, self.limit)
        behind = place.tat - (leased.first + tokens * self._step)
        if behind > 0:
            self._ledger.correct(behind)
        return self._loop.time() + place.slot - leased.leased_at

    def correct(self, job: Job, reserved: float, at_s: float, usage: Usage | None) -> None:
        """Give back, or take, the difference between what was reserved and what was used."""
        if usage is None:
            return
        self._history.setdefault(job.lane, deque(maxlen=HISTORY)).append(usage.total)
        age = self._loop.time() - at_s
        seconds = correction(reserved, usage.total, self._step, age, self.window_s)
        if seconds:
            self._ledger.correct(seconds)
