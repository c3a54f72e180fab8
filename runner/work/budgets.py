"""The budgets of this process: a gate an account and kind, each with its row in the database."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

from runner.store.store import Store
from runner.work.gate import Gate
from runner.work.ledger import Ledger
from runner.work.token_gate import TokenGate


class Budgets:
    """The gates of every account in use; `run` supplies them until it is cancelled."""

    def __init__(
        self,
        store: Store,
        *,
        rpm: float | None,
        read_rpm: float | None,
        tpm: float | None,
        window_s: float | None,
        rng: Random,
        warn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._limits = {"creates": rpm, "reads": read_rpm}
        self._window_s = window_s
        self._rng = rng
        self._warn = warn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="budgets")
        self._tpm = tpm
        self._tokens: dict[str, TokenGate] = {}
        self.gates: dict[tuple[str, str], Gate] = {}
        self._running: asyncio.TaskGroup | None = None

    def gate(self, account: str, kind: str) -> Gate:
        """Return the gate of an account and kind, made on first use."""
        found = self.gates.get((account, kind))
        if found is None:
            rpm, window = self._limits[kind], self._window_s
            limit = rpm * (window or 60.0) / 60 if rpm else None
            found = self.gates[account, kind] = Gate(
                kind,
                Ledger(self._store, self._thread, account, kind),
                limit=limit,
                window_s=window,
                rng=self._rng,
                warn=self._warn,
            )
            if self._running is not None:
                self._running.create_task(found.run())
        return found

    def tokens(self, account: str) -> TokenGate:
        """Return the tokens gate of an account, made on first use."""
        found = self._tokens.get(account)
        if found is None:
            ledger = Ledger(self._store, self._thread, account, "tokens")
            window = self._window_s or 60.0
            limit = self._tpm * window / 60 if self._tpm else None
            found = TokenGate(ledger, limit=limit, window_s=window, rng=self._rng)
            self._tokens[account] = found
        return found

    async def run(self) -> None:
        """Keep every gate supplied until cancelled, those too that are made meanwhile."""
        try:
            async with asyncio.TaskGroup() as self._running:
                for gate in self.gates.values():
                    self._running.create_task(gate.run())
                await asyncio.Event().wait()
        finally:
            self._running = None
            self._thread.shutdown(wait=False, cancel_futures=True)
