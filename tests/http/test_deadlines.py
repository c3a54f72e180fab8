"""A deadline ends what it holds as `asyncio.timeout` does, and nothing else."""

import asyncio

import pytest

from runner.http.deadlines import Deadline, Deadlines


def soon(deadlines: Deadlines, after_s: float) -> Deadline:
    return Deadline(deadlines, asyncio.get_running_loop().time() + after_s)


async def held(deadline: Deadline) -> None:
    with deadline:
        await asyncio.sleep(3600)


def test_what_takes_too_long_is_a_time_out() -> None:
    async def course() -> None:
        with pytest.raises(TimeoutError):
            await held(soon(Deadlines(), 0.01))

    asyncio.run(course())


def test_one_that_was_moved_holds_for_as_long_as_it_says_now() -> None:
    async def course() -> None:
        deadlines = Deadlines()
        with soon(deadlines, 0.01) as moved:
            moved.ends_at += 3600
            with pytest.raises(TimeoutError):
                await held(soon(deadlines, 0.05))
        assert not moved.over

    asyncio.run(course())


def test_what_ended_in_time_can_be_ended_no_more() -> None:
    async def course() -> None:
        deadlines = Deadlines()
        with soon(deadlines, 0.01) as first:
            pass
        with pytest.raises(TimeoutError):
            await held(soon(deadlines, 0.05))
        first.end()
        assert not first.over
        await asyncio.sleep(0)

    asyncio.run(course())


def test_it_can_be_ended_at_once() -> None:
    async def course() -> None:
        deadline = soon(Deadlines(), 3600)
        asyncio.get_running_loop().call_soon(deadline.end)
        with pytest.raises(TimeoutError):
            await held(deadline)

    asyncio.run(course())


def test_a_cancel_of_somebody_else_stays_a_cancel() -> None:
    async def course() -> None:
        deadline = soon(Deadlines(), 3600)
        task = asyncio.create_task(held(deadline))
        await asyncio.sleep(0)
        deadline.end()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(course())


def test_an_error_of_its_own_is_not_called_a_time_out() -> None:
    async def broken(deadline: Deadline) -> None:
        with deadline:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise ValueError("mine") from None

    async def course() -> None:
        deadline = soon(Deadlines(), 3600)
        asyncio.get_running_loop().call_soon(deadline.end)
        with pytest.raises(ValueError, match="mine"):
            await broken(deadline)
        # The cancel was the deadline's, and is not left behind for the next await.
        await asyncio.sleep(0)

    asyncio.run(course())
