"""The Python API: `from runner import Runner`, for a program that runs on asyncio.

    async with Runner(db="runs.db", base_url="https://agents.example.org/v1", rpm=600) as runner:
        async for outcome in runner.run(jobs, batch="nightly"):
            print(outcome.custom_id, outcome.status, outcome.output_text)

The same call again resumes and redoes nothing. `runner.sync` has the same for programs without a
loop. Signals are left alone; warnings go to the logger "runner".
"""

import asyncio
import logging
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, islice
from typing import Literal, Self, TypeAlias, Unpack

import anyio
from anyio import from_thread, to_thread

from runner.app import Commands
from runner.carrying import Carried, Feed, one_line, work_on
from runner.composition import Composition, Talk
from runner.config import Settings, from_keywords, with_keywords
from runner.core.batch import Batch, Queued
from runner.core.errors import RunnerError, Stopped, UsageError
from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.core.progress import Progress
from runner.keywords import Keywords
from runner.store.cancel import Cancelled
from runner.store.retry import Retried
from runner.work.handed import Handed
from runner.work.intake import IN_MEMORY, BadJob
from runner.work.pool import Pool
from runner.work.processes import Fleet
from runner.work.queueing import Interrupted, Telling
from runner.work.resting import Resting

__all__ = [
    "BadJob",
    "BadJobs",
    "Cancelled",
    "JobState",
    "Jobs",
    "Keywords",
    "Outcome",
    "Path",
    "Progress",
    "Queued",
    "Retried",
    "Runner",
    "RunnerError",
    "Stopped",
    "UsageError",
]

Path: TypeAlias = str | os.PathLike[str]
Jobs: TypeAlias = Iterable[Mapping[str, object]] | AsyncIterable[Mapping[str, object]] | Path
"""Jobs as a manifest has them, a mapping each, or the path of a manifest."""

LOG = logging.getLogger("runner")
LOG.addHandler(logging.NullHandler())

OUTCOMES = 100
"""So many outcomes are read at once."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 0.5
"""How long is waited before the next look for jobs that came to rest."""


class BadJobs(RunnerError):
    """Some jobs were not queued; the others were. `jobs` are the bad ones, each with its reason."""

    exit_code = 1

    def __init__(self, jobs: Sequence[BadJob]) -> None:
        more = f" (and {len(jobs) - 1:,} more)" if len(jobs) > 1 else ""
        super().__init__(f"not queued: {jobs[0]}{more}", remedy="the other jobs were queued")
        self.jobs = tuple(jobs)


@dataclass(eq=False)
class _Work:
    """One `run` under way: its pool, and why it was asked to stop, "" while it was not."""

    batch: Batch
    task: "asyncio.Task[Carried] | None" = None
    worker: Pool | Fleet | None = None
    stopped: str = ""
    failure: Exception | None = None

    def begun(self, worker: Pool | Fleet) -> None:
        """Take what works; a stop may have come before it."""
        self.worker = worker
        if self.stopped:
            worker.stop(self.stopped)

    def stop(self, why: str) -> None:
        """Drain; on the loop's thread."""
        self.stopped = self.stopped or why
        if self.worker is not None:
            self.worker.stop(why)

    async def over(self) -> None:
        """Wait for the end, whatever it is; it is told where the outcomes are read."""
        if self.task is not None:
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self.task})
            if not self.task.cancelled():
                # Asked for, so that the loop does not complain of an error that nobody heard.
                self.task.exception()


class Runner:
    """Jobs carried to their end, from a program. An asynchronous context manager, for asyncio only.

    Settings are keyword arguments named as the command line's flags (`Keywords`). Only they count:
    RUNNER_ variables and runner.toml are read where `environment` says so, and stand below what is
    given. The key, base URL and proxies come from the environment as they do for the command line;
    `api_key` goes before. Raises `UsageError` for settings that cannot be, when made.

    One `run` at a time; everything else may be called beside it. `commands` is what the command
    line calls, for what is not here.
    """

    def __init__(
        self, *, api_key: str | None = None, environment: bool = False, **settings: Unpack[Keywords]
    ) -> None:
        tools = settings.get("tools")
        function = tools if callable(tools) else None
        given = {name: value for name, value in settings.items() if not callable(value)}
        loaded = with_keywords(given) if environment else from_keywords(given)
        talk = Talk(warn=LOG.warning, every_s=3600)
        if function is not None and (loaded.processes or 1) > 1:
            raise UsageError(
                "a function cannot be handed to other processes",
                where="tools",
                remedy="name it as 'package.module:function', or leave processes out",
            )
        self.commands = Commands(_with_key(loaded, api_key), talk=talk)
        self.commands.parts.tools = function
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack = ExitStack()
        self._serving = False
        self._work: _Work | None = None

    async def __aenter__(self) -> Self:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("needs asyncio", where="Runner", remedy="use runner.sync") from None
        await to_thread.run_sync(lambda: self.commands.store)
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            await self.settle()
            await to_thread.run_sync(self._close)

    def _close(self) -> None:
        self._stack.close()
        self.commands.parts.__exit__()

    # What goes in

    async def queue(
        self,
        jobs: Jobs,
        *,
        batch: str | None = None,
        on_bad: Callable[[BadJob], None] | None = None,
    ) -> Queued:
        """Queue jobs and send nothing; return how many were new and how many known.

        `batch` may be left out for a path: it is the manifest's name then. A job that is known with
        the same content is left as it is. Bad jobs (and those in conflict) stop no others: `on_bad`
        is called with each, or else `BadJobs` is raised at the end. What an iterable raises is
        raised, and what it gave before is queued.
        """
        bad: list[BadJob] = []
        work = _Work(await self._begin(jobs, batch))
        tell = bad.append if on_bad is None else _on_loop(on_bad)
        telling = Telling(LOG.warning)
        try:
            done = await to_thread.run_sync(self._take, work, _taken(jobs), tell, telling)
        except Interrupted:
            if work.failure is None:
                raise
            raise work.failure from None
        if bad:
            raise BadJobs(bad)
        return done

    async def _begin(self, jobs: Jobs | None, name: str | None) -> Batch:
        if jobs is None:
            return await to_thread.run_sync(self.commands.one, name)
        return await to_thread.run_sync(begin, self.commands, jobs, name)

    def _take(
        self,
        work: _Work,
        source: Handed | str,
        tell: Callable[[BadJob], None],
        telling: Telling,
    ) -> Queued:
        """Queue all of a source, in a thread that the loop started."""
        if isinstance(source, str):
            return self.commands.queue_file(work.batch, source, tell, telling)
        intake = self.commands.intake(work.batch, tell)
        try:
            while not source.over and not telling.stop():
                chunk = from_thread.run(source.chunk)
                if chunk:
                    intake.add(chunk)
                    telling.queued(len(chunk))
        except RunnerError:
            raise
        except Exception as failure:  # noqa: BLE001 - the program's own; raised where outcomes end
            work.failure = failure
            from_thread.run_sync(work.stop, "the jobs ended with an error")
        finally:
            from_thread.run(source.close)
        if not source.over:
            raise Interrupted("stopped while queueing", remedy="the same call goes on")
        return intake.finish()

    # What is done

    async def run(
        self,
        jobs: Jobs | None = None,
        *,
        batch: str | None = None,
        on_bad: Callable[[BadJob], None] | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Queue jobs, carry the batch to its end, and yield each outcome as its job comes to rest.

        Without `jobs` what is queued is carried. All of the batch is told, what came to rest in
        earlier calls first: a program that was killed is run again and gets every outcome. Leaving
        the loop, cancelling the task and `stop` drain: creates under way are answered and written
        down, and the next call goes on. Raises at the end: `Stopped` where the work stopped by
        itself (a breaker, no money, `stop_after`), `BadJobs` as `queue` does, or what the iterable
        raised.
        """
        await self._make_way()
        work = _Work(await self._begin(jobs, batch))
        self._work = work
        bad: list[BadJob] = []
        tell = bad.append if on_bad is None else _on_loop(on_bad)
        feed = Feed(work.batch, lambda _telling: Queued())
        if jobs is not None:
            feed.queue = partial(self._take, work, _taken(jobs), tell)
        await to_thread.run_sync(self._serve)
        work.task = asyncio.create_task(self._carry(work, feed))
        try:
            async with aclosing(self._resting(work)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
        finally:
            work.stop("the program left the loop")
            await work.over()
        self._tell_end(work, bad)

    async def _resting(self, work: _Work) -> AsyncGenerator[Outcome, None]:
        """Yield outcomes until the work has ended and all of them are told."""
        resting = Resting(self.commands.store, work.batch.id)
        task, pause = work.task, FIRST_LOOK_S
        while task is not None:
            over = task.done()
            pause = min(2 * pause, LONGEST_LOOK_S)
            outcomes = chain(resting.more(), resting.last() if over else ())
            while some := await _some(outcomes):
                pause = FIRST_LOOK_S
                for outcome in some:
                    yield outcome
            if over:
                return
            await asyncio.wait({task}, timeout=pause)

    async def _carry(self, work: _Work, feed: Feed) -> Carried:
        _name_the_loop()
        with one_line():
            return await work_on(self.commands.parts, [work.batch], feed=feed, begun=work.begun)

    def _tell_end(self, work: _Work, bad: Sequence[BadJob]) -> None:
        if work.failure is not None:
            raise work.failure
        if work.task is None or work.task.cancelled():
            return
        ending = work.task.result().ending
        if ending.stopped and ending.stopped != work.stopped:
            raise Stopped(ending.stopped, remedy=ending.remedy)
        if bad:
            raise BadJobs(bad)

    async def _make_way(self) -> None:
        """Wait for an earlier run that drains; refuse to go beside one that does not."""
        if self._loop is None:
            raise UsageError("is not open", where="Runner", remedy="use `async with`")
        work = self._work
        if work is not None and work.task is not None and not work.task.done():
            if not work.stopped:
                raise UsageError(
                    "a run is under way",
                    where=f"batch {work.batch.name}",
                    remedy="leave its loop first, or open another Runner on the same database",
                )
            await work.over()

    def _serve(self) -> None:
        if not self._serving:
            self._stack.enter_context(self.commands.parts.serving())
            self._serving = True

    def stop(self) -> None:
        """Have the run under way drain; its loop ends. From any thread."""
        work, loop = self._work, self._loop
        if work is not None and loop is not None:
            loop.call_soon_threadsafe(work.stop, "stopped by the program")

    async def settle(self) -> None:
        """Have the run under way drain, and wait until it has."""
        work = self._work
        if work is not None:
            work.stop("stopped by the program")
            await work.over()

    # What came of it, and what a person commands

    async def outcomes(self, batch: str | None = None) -> AsyncGenerator[Outcome, None]:
        """Yield the outcomes of the jobs at rest, in the order in which they were queued."""
        found = await to_thread.run_sync(self.commands.one, batch)
        outcomes = self.commands.outcomes(found.id)
        while some := await _some(outcomes):
            for outcome in some:
                yield outcome

    async def progress(self, batch: str | None = None) -> Progress:
        """Return where a batch stands; the name may be left out where there is one only."""
        found = await to_thread.run_sync(self.commands.one, batch)
        return (await to_thread.run_sync(self.commands.status, found.name))[0]

    async def retry(
        self,
        batch: str | None = None,
        *,
        statuses: Collection[str] = (),
        codes: Collection[str] = (),
        only: Collection[str] = (),
        even_in_doubt: bool = False,
    ) -> Retried:
        """Put failed jobs back as their next generation, earlier runs kept; `run` carries them.

        `statuses` and `codes` (of the error) choose among them, `only` names jobs by custom_id.
        """
        call = partial(
            self.commands.retry,
            batch,
            statuses=frozenset(statuses),
            codes=frozenset(codes),
            only=frozenset(only),
            even_in_doubt=even_in_doubt,
        )
        return await to_thread.run_sync(call)

    async def cancel(self, batch: str | None = None, *, only: Collection[str] = ()) -> Cancelled:
        """Cancel jobs: queued ones end at once, runs are cancelled at the API by `run`."""
        return await to_thread.run_sync(partial(self.commands.cancel, batch, only=frozenset(only)))

    async def export(
        self,
        out: Path,
        *,
        batch: str | None = None,
        form: Literal["jsonl", "csv", "parquet", "batch", "raw"] = "jsonl",
    ) -> int:
        """Write a batch's results to a file as `runner export` does; return how many rows."""
        return await to_thread.run_sync(
            partial(self.commands.export, batch, os.fspath(out), form=form)
        )


def begin(commands: Commands, jobs: Jobs, name: str | None) -> Batch:
    """Make or find the batch that jobs go into."""
    if isinstance(jobs, (str, os.PathLike)):
        return commands.begin([os.fspath(jobs)], name)
    if name is None:
        raise UsageError("jobs of a program have no name", where="batch", remedy="give batch=…")
    return commands.begin([IN_MEMORY], name)


def _taken(jobs: Jobs) -> Handed | str:
    return os.fspath(jobs) if isinstance(jobs, (str, os.PathLike)) else Handed(jobs)


def _on_loop(on_bad: Callable[[BadJob], None]) -> Callable[[BadJob], None]:
    """Return what calls a program's function on the loop's thread, from a thread of ours."""
    return lambda bad: from_thread.run_sync(on_bad, bad)


def _name_the_loop() -> None:
    """Say that this is asyncio where sniffio is installed, which anyio asks.

    It looks at the running task, and a timer of the loop has none. `anyio.run` says it by itself;
    here the loop is the program's. It holds for the task that calls this and what it starts.
    """
    if find_spec("sniffio") is not None:
        import_module("sniffio").current_async_library_cvar.set("asyncio")


async def _some(outcomes: Iterator[Outcome]) -> list[Outcome]:
    """Read a few in a thread; none: there are no more."""
    return await to_thread.run_sync(lambda: list(islice(outcomes, OUTCOMES)))


def _with_key(settings: Settings, key: str | None) -> Settings:
    """Return the settings with a key where the dialect's own variable would have held it."""
    if key is None:
        return settings
    if settings.api_key_file is not None:
        raise UsageError("is given twice", where="api_key", remedy="leave api_key_file out")
    (variable, *_) = Composition(settings).dialect().key_variables
    return replace(settings, environ={**settings.environ, variable: key})
