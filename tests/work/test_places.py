"""Places in flight: however workers take turns, together they never have more than all may have."""

from collections.abc import Coroutine, Generator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.work.places import PATIENCE_S, Places, free_beside


class Turn:
    """An await at which another may go on."""

    def __await__(self) -> Generator[None]:
        yield


class World:
    """Workers with their rows. `late`: what a worker tells is seen only after it has looked."""

    def __init__(self, concurrency: int, workers: int, *, late: bool) -> None:
        self.late = late
        self.now_s = 0.0
        self.rows = [(0, False)] * workers
        self.flight = [0] * workers
        self.ceiling = [0] * workers
        self.sharing: list[Coroutine[None, None, None] | None] = [None] * workers
        self.places = [self._places(me, concurrency) for me in range(workers)]

    def _places(self, me: int, concurrency: int) -> Places:
        def use() -> None:
            self.ceiling[me] = self.places[me].part

        async def tell(places: int, wanting: bool) -> list[int]:
            await Turn()
            if not self.late:
                self.rows[me] = places, wanting
            others = [p for i, (p, wants) in enumerate(self.rows) if wants and i != me]
            await Turn()
            self.rows[me] = places, wanting
            return others

        return Places(concurrency, lambda: self.flight[me], use, tell, lambda: self.now_s)

    def step(self, me: int, *, wanting: bool) -> None:
        """Begin to share, or go on by one turn."""
        sharing = self.sharing[me] or self.places[me].share(wanting=wanting)
        try:
            sharing.send(None)
        except StopIteration:
            self.sharing[me] = None
        else:
            self.sharing[me] = sharing

    def share(self, me: int, *, wanting: bool = True) -> None:
        """Share, or end what was begun, without a turn for others."""
        self.step(me, wanting=wanting)
        while self.sharing[me] is not None:
            self.step(me, wanting=wanting)

    def do(self, me: int, rng: Random) -> None:
        """Do what a worker may do next."""
        match rng.randrange(4):
            case 0 if self.flight[me] < self.ceiling[me] and self.places[me].wanting:
                self.flight[me] += 1
            case 1 if self.flight[me]:
                self.flight[me] -= 1
            case _:
                self.step(me, wanting=self.flight[me] > 0 or rng.random() < 0.9)


@given(st.integers(1, 9), st.integers(1, 4), st.booleans(), st.randoms(use_true_random=False))
def test_no_turns_taken_give_all_together_more_than_all_may_have(
    concurrency: int, workers: int, late: bool, rng: Random
) -> None:
    world = World(concurrency, workers, late=late)
    for_all = max(concurrency, workers)
    for _ in range(200):
        world.do(rng.randrange(workers), rng)
        assert sum(world.flight) <= for_all
        assert sum(world.ceiling) <= for_all
    # The runs end. After one look everybody is seen to have work, after two nobody has more than a
    # part, and with the third, who looked before the others had come down has its own.
    world.flight = [0] * workers
    for me in range(workers):
        while world.sharing[me] is not None:
            world.step(me, wanting=True)
    for me in [*range(workers)] * 3:
        world.share(me)
    assert world.ceiling == [for_all // workers] * workers


def test_a_worker_without_work_holds_no_place() -> None:
    world = World(6, 2, late=False)
    world.share(0)
    assert world.ceiling == [6, 0]
    world.share(1)
    world.share(0, wanting=False)
    assert world.rows == [(0, False), (0, True)]
    world.share(1)
    assert world.ceiling == [0, 6]


def test_what_is_let_go_of_is_told_once_it_is_used_no_more() -> None:
    world = World(6, 2, late=False)
    world.share(0)
    world.share(1)
    while world.rows[0] == (6, True):
        world.step(0, wanting=True)
    assert (world.rows[0], world.ceiling) == ((3, True), [3, 0])


def test_who_comes_new_waits_for_runs_that_last_and_in_the_end_goes_on_with_one() -> None:
    world = World(6, 2, late=False)
    world.share(0)
    world.flight = [6, 0]
    for me in (1, 0, 1):
        world.share(me)
    assert (world.ceiling, world.rows[0]) == ([3, 0], (6, True))
    world.now_s = PATIENCE_S
    for me in (1, 0, 1):
        world.share(me)
    assert world.ceiling == [3, 1]
    world.flight = [2, 1]
    for me in (0, 1):
        world.share(me)
    assert world.ceiling == [3, 3]


@pytest.mark.parametrize(
    ("concurrency", "others", "free"),
    [
        (6, [], 6),
        (6, [0], 3),
        (6, [4], 2),
        (6, [6], 0),
        (6, [3, 3], 0),
        (2, [1, 1], 1),
        (2, [2, 1], 0),
        # It goes by a larger number, and never comes down below this one.
        (6, [50], 1),
    ],
)
def test_what_is_free_is_taken_up_to_an_even_part(
    concurrency: int, others: list[int], free: int
) -> None:
    assert free_beside(concurrency, others) == free
