"""The loop: batches carried to their rest by a pool, or by a fleet of processes, and shown."""

import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec

import anyio
from anyio import to_thread
from msgspec import Struct, field
from msgspec.structs import replace

from runner.composition import Composition, boottime, policy_of, wall_s
from runner.config import as_variables, joined
from runner.core.batch import Batch, Queued
from runner.core.breaker import Breaker, Trip
from runner.core.errors import RunnerError, Stopped
from runner.core.growing import Growing
from runner.core.model import JobState
from runner.core.progress import Progress
from runner.core.view import Pulse, View, left_s
from runner.store.store import Store
from runner.work.cores import cores
from runner.work.dead_man import dead_man, is_known
from runner.work.flow import Flow, flow_of_others, in_flight
from runner.work.growth import Growth
from runner.work.pool import Ending, Pool
from runner.work.processes import Fleet, tell_parent, until_orphaned
from runner.work.queueing import Interrupted, Telling
from runner.work.signals import interrupts

SILENT_S = 5.0
"""A look at where the work stands takes milliseconds."""
STANDS_S = 3.0
STANDS_AGAIN_S = 60.0
"""A batch that stands for so long, and for so long again, is looked at for what it waits for."""
COUNT_S = 0.5
"""So often are the failures of all processes counted where they are limited."""


class Carried(Struct, frozen=True):
    """How work ended: where every batch stands, and why it stopped before the end, if it did.

    `began_ms` is unix time in milliseconds: what ended before was not this command's.
    """

    batches: tuple[Progress, ...]
    ending: Ending
    queued: Queued | None
    began_ms: int
    elapsed_s: float
    rows: int | None = None

    @property
    def exit_code(self) -> int:
        """0 all succeeded, 1 some ended otherwise or a line was bad, 3 stopped before the end."""
        if self.ending.stopped or not all(p.whole for p in self.batches):
            return 3
        if any(p.of(JobState.FAILED, JobState.CANCELLED) for p in self.batches):
            return 1
        return 1 if self.queued is not None and self.queued.faulty else 0


class Feed(Struct):
    """Jobs on their way into the queue while the pool works: `queue` runs in a thread of its own."""

    batch: Batch
    queue: Callable[[Telling], Queued]
    open: bool = True
    queued: Queued | None = None


def carry(
    parts: Composition,
    batches: Sequence[Batch],
    *,
    feed: Feed | None = None,
    forever: bool = False,
    every: bool = False,
) -> Carried:
    """Run the loop to its end. Raises what a person caused as one `RunnerError`.

    `every`: batches that come later are carried too.
    """
    uvloop = find_spec("uvloop") is not None
    with _heard_by_parent() if parts.settings.child else nullcontext(), one_line():
        carried = anyio.run(
            partial(work_on, parts, batches, feed=feed, forever=forever, every=every),
            backend_options={"use_uvloop": uvloop},
        )
    if parts.settings.child and carried.ending.stopped:
        tell_parent(Trip(carried.ending.stopped, carried.ending.remedy).line)
    return carried


@contextmanager
def _heard_by_parent() -> Iterator[None]:
    """Tell the parent too what this process was stopped by."""
    try:
        yield
    except Stopped as stopped:
        tell_parent(str(stopped))
        raise


@contextmanager
def one_line() -> Iterator[None]:
    """Raise what a person caused as one `RunnerError`, however deep among the tasks it was met."""
    try:
        yield
    except BaseExceptionGroup as group:
        told, others = group.split(RunnerError)
        if told is None or others is not None:
            raise
        raise first_of(told) from None


async def work_on(
    parts: Composition,
    batches: Sequence[Batch],
    *,
    feed: Feed | None = None,
    forever: bool = False,
    every: bool = False,
    begun: Callable[[Pool | Fleet], None] | None = None,
) -> Carried:
    """Carry these batches to their rest, on a loop that runs already.

    `begun` gets what works, to stop it by; signals are left alone then.
    """
    for batch in batches:
        # Why an earlier command stopped says nothing of this one.
        if batch.stopped and not parts.settings.child:
            parts.store.set_batch(batch.id, stopped="")
    began_ms, began = int(wall_s() * 1000), time.monotonic()
    async with AsyncExitStack() as stack:
        worker = await _worker(parts, batches, feed, stack, forever=forever, every=every)
        async with (
            anyio.create_task_group() as group,
            interrupts(lambda: worker.stop("interrupted"), lambda: os._exit(3))
            if begun is None
            else nullcontext(),
        ):
            if begun is not None:
                begun(worker)
            if feed is not None:
                group.start_soon(_feed, parts, worker, feed)
            group.start_soon(partial(_report, parts, worker, batches, began, every=every))
            if parts.settings.max_failures is not None and not parts.settings.child:
                group.start_soon(_count_failures, parts, worker, batches)
            async with _helped(parts, worker, batches, feed, every=every, alone=begun is not None):
                ending = await worker.run()
            while feed is not None and feed.open:
                await anyio.sleep(0.02)
            group.cancel_scope.cancel()
    if every:
        batches = parts.store.batches()
    progress = tuple(parts.store.progress(b.id) for b in batches)
    queued, elapsed_s = feed.queued if feed else None, time.monotonic() - began
    return Carried(progress, ending, queued, began_ms, elapsed_s)


async def _worker(
    parts: Composition,
    batches: Sequence[Batch],
    feed: Feed | None,
    stack: AsyncExitStack,
    *,
    forever: bool,
    every: bool,
) -> Pool | Fleet:
    """This process's own pool, or a fleet of processes that this one only watches.

    A fleet where more than one was asked for, and for `work` on a database that hosts share.
    """
    settings = parts.settings
    shared = parts.store.engine_name == "postgresql" and is_known()
    if (settings.processes or 1) > 1 or (shared and feed is None and not settings.child):
        return _fleet(parts, batches, feed, forever=forever, every=every)
    policy = replace(policy_of(parts.settings), forever=forever)
    if parts.tools is not None:
        policy = replace(policy, tools=parts.tools)
    budgets = parts.budgets()
    assignments = [parts.assignment(b, policy, budgets, stack) for b in batches]
    pool = Pool(
        parts.store,
        assignments,
        policy,
        boottime=boottime,
        wall_s=wall_s,
        rng=parts.rng,
        reach=parts.reach,
        warn=parts.talk.warn,
        feeding=lambda: feed is not None and feed.open,
        dead_man=dead_man(boottime) if shared and settings.child else None,
        join=(lambda b: parts.assignment(b, policy, budgets, stack)) if every else None,
    )
    group = await stack.enter_async_context(anyio.create_task_group())
    stack.callback(group.cancel_scope.cancel)
    group.start_soon(budgets.run)
    if settings.child:
        group.start_soon(_end_with_parent, pool)
    return pool


async def _end_with_parent(pool: Pool) -> None:
    """Drain when the parent is gone: nobody else would ever tell this process to end."""
    await until_orphaned()
    pool.stop("the command that started this worker has ended")


@asynccontextmanager
async def _helped(
    parts: Composition,
    worker: Pool | Fleet,
    batches: Sequence[Batch],
    feed: Feed | None,
    *,
    every: bool,
    alone: bool,
) -> AsyncIterator[None]:
    """Have further processes started while they help, unless a number was asked for.

    Not where the caller's own loop or function does the work: no other process has those.
    """
    settings = parts.settings
    most = cores()
    if settings.processes or settings.child or alone or parts.tools is not None or most < 2:
        yield
        return
    fleet = worker if isinstance(worker, Fleet) else _helpers(parts, batches, every=every)
    growth = Growth(
        parts.store,
        worker,
        fleet,
        [b.id for b in batches],
        lambda: feed is not None and feed.open,
        parts.talk.warn,
        Growing(most),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(growth.run)
        yield
        growth.end()


def _helpers(parts: Composition, batches: Sequence[Batch], *, every: bool) -> Fleet:
    """A fleet beside this process's own pool: nobody in it yet, and over when the pool is."""
    fleet = _fleet(parts, batches, None, forever=True, every=every)
    return replace(fleet, count=0, helps=True, stop_after_s=None)


def _fleet(
    parts: Composition, batches: Sequence[Batch], feed: Feed | None, *, forever: bool, every: bool
) -> Fleet:
    settings, store = parts.settings, parts.store
    ids = [b.id for b in batches]
    count = settings.processes or 1
    environ = dict(settings.environ) | as_variables(settings)
    environ["RUNNER_PROCESSES"] = "1"
    # The time is the command's: one that takes another's place would begin it anew.
    environ.pop("RUNNER_STOP_AFTER", None)
    environ["RUNNER_QUIET"] = environ["RUNNER_CHILD"] = "1"
    environ["RUNNER_BATCH"] = "" if every else joined([b.name for b in batches])
    if parts.simulator is not None:
        environ["RUNNER_SIMULATOR_URL"] = parts.simulator.url
        environ["RUNNER_SIMULATE"] = "0"

    def at_rest() -> bool:
        feeding = feed is not None and feed.open
        if feeding or forever:
            return False
        # A batch whose breaker opened is carried no further: the others are what is waited for.
        return store.left([i for i in ids if not told_of(i)]).jobs == 0

    def told_of(batch_id: int) -> str:
        return store.progress(batch_id, brief=True).stopped

    def stopped() -> str:
        return next((told for i in ids if (told := told_of(i))), "")

    command = [sys.executable, "-P", "-m", "runner", "work", "--forever"]
    warn, grace_s, after_s = parts.talk.warn, settings.grace, settings.stop_after
    return Fleet(command, environ, count, at_rest, stopped, warn, grace_s, after_s)


async def _feed(parts: Composition, worker: Pool | Fleet, feed: Feed) -> None:
    """Queue in a thread while the pool works on what is already there."""
    telling = Telling(parts.talk.warn, queued=worker.added, stop=lambda: worker.stopping)
    try:
        feed.queued = await to_thread.run_sync(feed.queue, telling)
    except Interrupted:
        pass
    finally:
        feed.open = False
        worker.poke()


@asynccontextmanager
async def _silence_told(store: Store) -> AsyncIterator[None]:
    """Tell where the database says nothing for long: a server that hangs is no error yet."""

    async def tell() -> None:
        await anyio.sleep(SILENT_S)
        store.tell_silence()

    async with anyio.create_task_group() as group:
        group.start_soon(tell)
        yield
        group.cancel_scope.cancel()


async def _report(
    parts: Composition,
    worker: Pool | Fleet,
    batches: Sequence[Batch],
    began: float,
    *,
    every: bool,
) -> None:
    """Show where the work stands, a few times a second at most."""
    pulses: dict[int, Pulse] = defaultdict(Pulse)
    standing = Standing()
    while True:
        await anyio.sleep(parts.talk.every_s)
        async with _silence_told(parts.store):
            if every:
                batches = await to_thread.run_sync(parts.store.batches)
            stands = [
                await to_thread.run_sync(partial(parts.store.progress, batch.id, brief=True))
                for batch in batches
            ]
            flow = await _flow(parts, worker, stands)
            for batch, progress in zip(batches, stands, strict=True):
                long = standing.is_long(batch.id, progress, time.monotonic())
                if long and not parts.settings.child:
                    await _tell_whose_turn(parts, batch)
        now = time.monotonic()
        for batch, progress in zip(batches, stands, strict=True):
            rate = pulses[batch.id].beat(now, progress.at_rest)
            parts.talk.tick(
                View(
                    progress,
                    flow.in_flight,
                    flow.ceiling,
                    rate,
                    left_s(progress, rate),
                    flow.limits,
                    now - began,
                )
            )


class Standing(Struct):
    """Since when the batches have had jobs to send and nothing under way."""

    _since: dict[int, float] = field(default_factory=dict)

    def is_long(self, batch_id: int, progress: Progress, now: float) -> bool:
        """Whether a batch has stood for long now: once, and again after each further while."""
        moving = progress.of(JobState.SUBMITTING, JobState.RUNNING)
        if moving or not progress.of(JobState.QUEUED):
            self._since.pop(batch_id, None)
            return False
        since = self._since.setdefault(batch_id, now)
        if now - since < STANDS_S:
            return False
        self._since[batch_id] = now + STANDS_AGAIN_S
        return True


async def _tell_whose_turn(parts: Composition, batch: Batch) -> None:
    """Tell of another batch's job that a standing batch waits for: nothing else would."""
    found = await to_thread.run_sync(partial(parts.store.turn_elsewhere, batch.id))
    if found is not None:
        parts.talk.warn(
            f"batch {batch.name}: job {found.custom_id} waits for job {found.other} of batch "
            f"{found.batch}, which has the turn on thread {found.thread_id}: work on that batch too"
        )


async def _flow(parts: Composition, worker: Pool | Fleet, stands: Sequence[Progress]) -> Flow:
    if isinstance(worker, Fleet):
        budgets = await to_thread.run_sync(parts.store.budgets)
        workers = max(1, len(worker.pids))
        return flow_of_others(stands, budgets, parts.settings.concurrency, workers)
    if worker.fellows:
        # Its own are a part of what moves; what holds it back holds back all.
        return Flow(in_flight(stands), None, worker.limits())
    return Flow(worker.flight, worker.ceiling, worker.limits())


async def _count_failures(
    parts: Composition, worker: Pool | Fleet, batches: Sequence[Batch]
) -> None:
    """Stop a batch when too many of its jobs have failed since this command began, by whomever."""
    breaker = Breaker(*parts.settings.failures_limit())
    before: dict[int, int] = {}
    while True:
        for batch in batches:
            progress = await to_thread.run_sync(partial(parts.store.progress, batch.id, brief=True))
            failed = progress.of(JobState.FAILED)
            trip = breaker.failures(failed - before.setdefault(batch.id, failed), progress.jobs)
            if trip is not None:
                worker.halt(batch.id, trip)
        await anyio.sleep(COUNT_S)


def first_of(group: BaseExceptionGroup[RunnerError]) -> RunnerError:
    """Return the first error of a group, however nested."""
    for error in group.exceptions:
        return first_of(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group without an exception")
