"""Further worker processes, started one by one while they help (`core/growing.py`)."""

from collections.abc import Callable, Sequence

import anyio
from anyio import to_thread
from msgspec import Struct, field
from msgspec.structs import replace

from runner.core.growing import Growing, Look, rest_s
from runner.store.store import Store
from runner.work.cores import Spent
from runner.work.pool import Pool
from runner.work.processes import Fleet

LOOK_S = 0.6
"""So many seconds stand between two looks whether one more process would help."""


class Growth(Struct):
    """The processes beside `worker`; `fleet` keeps them, and is the worker itself where it is one.

    `feeding` tells whether jobs are still being queued; `warn` takes the line that says why one
    more was started.
    """

    store: Store
    worker: Pool | Fleet
    fleet: Fleet
    batches: Sequence[int]
    feeding: Callable[[], bool]
    warn: Callable[[str], None]
    growing: Growing
    _over: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        """Look every `LOOK_S` and start what helps, until `end`; then see them all off."""
        async with anyio.create_task_group() as group:
            if self.fleet is not self.worker:
                group.start_soon(self._keep)
            await self._watch()

    def end(self) -> None:
        """Tell them to drain: the work is over, or stopped."""
        self._over.set()
        self.fleet.stop("")

    async def _keep(self) -> None:
        ending = await self.fleet.run()
        if ending.stopped:
            # What stopped one of them for good would stop all.
            self.worker.stop(ending.stopped, ending.remedy)

    async def _watch(self) -> None:
        spent, written = Spent(), self.store.writing_s()
        before: int | None = None
        spent.look(self.fleet.pids)
        while not self._over.is_set():
            with anyio.move_on_after(LOOK_S / 4):
                await self._over.wait()
            if self.worker.stopping:
                return self.end()
            if spent.age_s() < LOOK_S:
                continue
            used, wrote = spent.look(self.fleet.pids), self.store.writing_s()
            itself = 0 if self.fleet is self.worker else 1
            look = Look(
                itself + len(self.fleet.pids),
                used.busy_cores,
                used.idle_cores,
                None,
                (wrote - written) / used.own_s if used.own_s else 0.0,
            )
            written = wrote
            # The database is asked only where all else speaks for another process.
            now = await self._left() if look.helps and not self.feeding() else None
            if now is not None and before is not None:
                look = replace(look, left_s=rest_s(before, now, used.took_s))
            before = now
            self._see(look)
        return None

    def _see(self, look: Look) -> None:
        if not self.growing.after(look) or self._over.is_set() or self.worker.stopping:
            return
        self.warn(
            f"one more process starts: processor time holds the work back ({look.busy_cores:.1f} "
            f"cores in use, {look.idle_cores:.1f} idle); --processes {look.processes} keeps to "
            f"{look.processes}"
        )
        self.fleet.grow()

    async def _left(self) -> int:
        return (await to_thread.run_sync(self.store.left, self.batches)).jobs
