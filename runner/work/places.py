"""A worker's part of the runs in flight that all workers of an account share (`--concurrency`).

What a worker may use is told in its row before it uses it, and what it lets go of only after. So
all together never use more: who comes new sees what the others have told, and waits until they
have come down to their parts. Telling what was in flight was not enough: several that started at
once had told nothing, and each took all.
"""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from runner.core.ceiling import part_of

PATIENCE_S = 300.0
"""So long at most a worker waits without a place: the others may go by another number than it."""


class Places(Struct):
    """The places of one worker. `share` is called now and then, and by one task at a time.

    `flight` tells how many runs are in flight, `use` hears how many may be. `tell` writes a number
    of places, and whether this worker has work, into its row, and returns the places of each other
    worker that has work. `now` is a steady clock.
    """

    concurrency: int
    flight: Callable[[], int]
    use: Callable[[], None]
    tell: Callable[[int, bool], Awaitable[Sequence[int]]]
    now: Callable[[], float]
    part: int = 0
    """So many runs may be in flight here now."""
    told: int = 0
    wanting: bool = False
    """Whether the others count with this worker, as told last."""
    fellows: int = 0
    _waits_since: float | None = None

    @property
    def taken(self) -> int:
        """The places that the others must leave: those that may be used, and those in use."""
        return max(self.flight(), self.told)

    def forget(self) -> None:
        """Begin anew, with a row that nothing has been told in."""
        self.part = self.told = 0
        self.wanting = False
        self.use()

    async def share(self, *, wanting: bool) -> None:
        """Take the part that is free, come down to the part that is due; none without work."""
        self.wanting = wanting
        if not wanting:
            # Others take them as soon as that is told.
            self.part = 0
            self.use()
        others = await self.tell(self.taken, wanting)
        part = self._free_beside(others) if wanting else 0
        if part > self.told:
            self.told = part
            await self.tell(self.taken, wanting)
            # Looked at again once it can be seen: two that rise at once both come down then.
            # PostgreSQL shows nobody what is told in a transaction that has not ended.
            others = await self.tell(self.taken, wanting)
            part = min(part, self._free_beside(others))
        self.part, self.fellows = part, len(others)
        self.use()
        if part < self.told:
            self.told = part
            await self.tell(self.taken, wanting)

    def _free_beside(self, others: Sequence[int]) -> int:
        part = free_beside(self.concurrency, others)
        if part:
            self._waits_since = None
            return part
        if self._waits_since is None:
            self._waits_since = self.now()
        return 1 if self.now() - self._waits_since >= PATIENCE_S else 0


def free_beside(concurrency: int, others: Sequence[int]) -> int:
    """Return how many places a worker may have beside those that the others have told.

    Where there are fewer places than workers each has one. None is free: 0, but 1 where one of the
    others alone has more than all may have, so that it must go by another number.
    """
    for_all = max(concurrency, len(others) + 1)
    if sum(others) >= for_all and max(others) <= concurrency:
        return 0
    return part_of(for_all, others)
