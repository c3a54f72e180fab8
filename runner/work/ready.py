"""Claimed jobs that wait for a place in flight, by lane: least in flight in proportion goes next.

A lane is what shares a speed (an assistant and model, of one batch). One slow lane can so fill no
more than its share of the places while others have work: in manifest order alone, runs of 120 s
mixed among runs of 2 s held them all up (budgets.md 5).
"""

from collections import Counter, deque
from typing import TypeAlias

from msgspec import Struct, field

from runner.work.carried import Carried

LaneKey: TypeAlias = tuple[int, int]


def lane_of(carried: Carried) -> LaneKey:
    """Return a job's lane: its batch and the lane's number there."""
    return carried.job.batch_id, carried.job.lane


class Ready(Struct):
    """The waiting jobs. `weights` are the batches' (--priority)."""

    weights: dict[int, int]
    waiting: dict[LaneKey, deque[Carried]] = field(default_factory=dict)
    flying: Counter[LaneKey] = field(default_factory=Counter)
    count: int = 0

    def __len__(self) -> int:
        return self.count

    def weigh(self, batch_id: int, weight: int) -> None:
        """Take note of a batch's weight."""
        self.weights[batch_id] = weight

    def add(self, carried: Carried) -> None:
        """Put a job behind those of its lane."""
        key = lane_of(carried)
        lane = self.waiting.get(key)
        if lane is None:
            lane = self.waiting[key] = deque()
        lane.append(carried)
        self.count += 1

    def pop(self) -> Carried:
        """Take the job whose lane has the least in flight for its batch's weight."""
        alone = len(self.waiting) == 1
        key = next(iter(self.waiting)) if alone else min(self.waiting, key=self._load)
        lane = self.waiting[key]
        carried = lane.popleft()
        if not lane:
            del self.waiting[key]
        self.count -= 1
        return carried

    def _load(self, key: LaneKey) -> tuple[float, int]:
        return self.flying[key] / self.weights.get(key[0], 1), self.waiting[key][0].job.id

    def waits_in(self, batch_id: int, lane: int) -> int:
        """Return how many jobs of a lane wait."""
        return len(self.waiting.get((batch_id, lane), ()))

    def clear(self) -> None:
        """Forget all: another incarnation begins."""
        self.waiting.clear()
        self.flying.clear()
        self.count = 0
