"""The same for programs without a loop: `from runner.sync import Runner`.

    with Runner(db="runs.db", base_url="https://agents.example.org/v1", rpm=600) as runner:
        for outcome in runner.run(jobs, batch="nightly"):
            print(outcome.custom_id, outcome.status, outcome.output_text)

The work goes on in a thread with a loop of its own while the program does something else between
two outcomes. See `runner.api` for what each method promises.
"""

import os
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from itertools import islice
from typing import Literal, Self, TypeAlias, TypeVar, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from runner import api
from runner.api import BadJob, BadJobs, Cancelled, Outcome, Path, Progress, Queued, Retried
from runner.core.errors import UsageError
from runner.keywords import Keywords
from runner.work.intake import CHUNK
from runner.work.queueing import Telling

__all__ = ["BadJob", "BadJobs", "Jobs", "Outcome", "Progress", "Queued", "Runner"]

T = TypeVar("T")

Jobs: TypeAlias = Iterable[Mapping[str, object]] | Path
"""Jobs as a manifest has them, a mapping each, or the path of a manifest."""


class Runner:
    """Jobs carried to their end, from a program without a loop. A context manager.

    Settings as for `runner.api.Runner`. Its methods are for one thread at a time, `stop` for any.
    """

    def __init__(
        self, *, api_key: str | None = None, environment: bool = False, **settings: Unpack[Keywords]
    ) -> None:
        self._waited = api.Runner(api_key=api_key, environment=environment, **settings)
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        options = {"use_uvloop": find_spec("uvloop") is not None}
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio", options))
            stack.enter_context(portal.wrap_async_context_manager(self._waited))
            self._stack = stack.pop_all()
        self._portal = portal
        return self

    def __exit__(self, *exc: object) -> None:
        self._portal = None
        self._stack.close()

    @property
    def _open(self) -> BlockingPortal:
        if self._portal is None:
            raise UsageError("is not open", where="Runner", remedy="use `with`")
        return self._portal

    def queue(
        self,
        jobs: Jobs,
        *,
        batch: str | None = None,
        on_bad: Callable[[BadJob], None] | None = None,
    ) -> Queued:
        """Queue jobs and send nothing, in this thread; see `runner.api.Runner.queue`."""
        bad: list[BadJob] = []
        done = self._queue(jobs, batch, bad.append if on_bad is None else on_bad)[1]
        if bad:
            raise BadJobs(bad)
        return done

    def _queue(
        self, jobs: Jobs, name: str | None, tell: Callable[[BadJob], None]
    ) -> tuple[str, Queued]:
        _ = self._open
        commands = self._waited.commands
        batch = api.begin(commands, jobs, name)
        if isinstance(jobs, (str, os.PathLike)):
            telling = Telling(api.LOG.warning)
            return batch.name, commands.queue_file(batch, os.fspath(jobs), tell, telling)
        intake = commands.intake(batch, tell)
        left = iter(jobs)
        while chunk := list(islice(left, CHUNK)):
            intake.add(chunk)
        return batch.name, intake.finish()

    def run(
        self,
        jobs: Jobs | None = None,
        *,
        batch: str | None = None,
        on_bad: Callable[[BadJob], None] | None = None,
    ) -> Generator[Outcome, None, None]:
        """Queue all jobs, carry the batch to its end, and yield outcomes as jobs come to rest.

        As `runner.api.Runner.run`, but for this: the iterable is read to its end, in this thread,
        before the first create.
        """
        bad: list[BadJob] = []
        if jobs is not None:
            batch, _ = self._queue(jobs, batch, bad.append if on_bad is None else on_bad)
        outcomes = self._waited.run(batch=batch)
        try:
            yield from self._each(outcomes)
        finally:
            # Where the runner was closed before this loop was left, all has been settled.
            if self._portal is not None:
                self._portal.call(self._waited.settle)
        if bad:
            raise BadJobs(bad)

    def _each(self, outcomes: AsyncGenerator[Outcome, None]) -> Iterator[Outcome]:
        while (outcome := self._call(lambda: anext(outcomes, None))) is not None:
            yield outcome

    def _call(self, what: Callable[[], Awaitable[T]]) -> T:
        async def called() -> T:
            return await what()

        future = self._open.start_task_soon(called)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C is met here, in the thread that waits: what it waits for must end too.
            future.cancel()
            raise

    def stop(self) -> None:
        """Have the run under way drain; its loop ends. From any thread."""
        self._waited.stop()

    def outcomes(self, batch: str | None = None) -> Iterator[Outcome]:
        """Yield the outcomes of the jobs at rest, in the order in which they were queued."""
        yield from self._each(self._waited.outcomes(batch))

    def progress(self, batch: str | None = None) -> Progress:
        """Return where a batch stands; the name may be left out where there is one only."""
        return self._call(partial(self._waited.progress, batch))

    def retry(
        self,
        batch: str | None = None,
        *,
        statuses: Collection[str] = (),
        codes: Collection[str] = (),
        only: Collection[str] = (),
        even_in_doubt: bool = False,
    ) -> Retried:
        """Put failed jobs back as their next generation; see `runner.api.Runner.retry`."""
        return self._call(
            partial(
                self._waited.retry,
                batch,
                statuses=statuses,
                codes=codes,
                only=only,
                even_in_doubt=even_in_doubt,
            )
        )

    def cancel(self, batch: str | None = None, *, only: Collection[str] = ()) -> Cancelled:
        """Cancel jobs: queued ones end at once, runs are cancelled at the API by `run`."""
        return self._call(partial(self._waited.cancel, batch, only=only))

    def export(
        self,
        out: Path,
        *,
        batch: str | None = None,
        form: Literal["jsonl", "csv", "parquet", "batch", "raw"] = "jsonl",
    ) -> int:
        """Write a batch's results to a file as `runner export` does; return how many rows."""
        return self._call(partial(self._waited.export, out, batch=batch, form=form))
