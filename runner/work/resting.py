"""The jobs of a batch as they come to rest, each generation's end once."""

from collections import defaultdict
from collections.abc import Iterator

from runner.core.outcome import Outcome
from runner.store.store import Store

BACK_MS = 50
"""So far each look goes back: ends are stamped before they are committed, in no strict order."""

_SPAN = 1 << 16


class Resting:
    """A reader that follows one batch. `count` is how many jobs it has told of.

    Memory is a bit a job.
    """

    def __init__(self, store: Store, batch_id: int) -> None:
        self.count = 0
        self._store = store
        self._batch_id = batch_id
        self._until_ms = 0
        self._told: dict[int, bytearray] = defaultdict(lambda: bytearray(_SPAN // 8))
        self._later: set[tuple[int, int]] = set()

    def more(self) -> Iterator[Outcome]:
        """Yield what has come to rest since, in the order of the ends."""
        return self._since(max(0, self._until_ms - BACK_MS))

    def last(self) -> Iterator[Outcome]:
        """Yield what no look has seen, when nothing more can come.

        An end is missed where another host's clock is behind, or this one's was set back.
        """
        if self._store.progress(self._batch_id, brief=True).at_rest > self.count:
            yield from self._since(0)

    def _since(self, ms: int) -> Iterator[Outcome]:
        for (ended_ms, job_id), outcome in self._store.settled_since(self._batch_id, (ms, 0)):
            self._until_ms = max(self._until_ms, ended_ms)
            if self._is_new(job_id, outcome.generation):
                yield outcome

    def _is_new(self, job_id: int, generation: int) -> bool:
        span, place = divmod(job_id, _SPAN)
        bits, mask = self._told[span], 1 << place % 8
        new = not bits[place // 8] & mask
        bits[place // 8] |= mask
        self.count += new
        if generation > 1:
            # Few are retried, and each may end again.
            end = (job_id, generation)
            new = end not in self._later
            self._later.add(end)
        return new
