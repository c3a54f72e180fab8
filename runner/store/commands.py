"""The other half of the store's face: what is read, and what a person commands.

`Store` is one; it is parted so that the path of the work (`store.py`) reads by itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.core.progress import Progress
from runner.store import give_back, outcomes, reads
from runner.store.record import Now

T = TypeVar("T")


class Commands(ABC):
    """Reads and commands. Its methods may be called from any thread."""

    @abstractmethod
    def _read(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb in a short read of its own."""

    @abstractmethod
    def _write(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb as one transaction in the writer's thread; it may run more than once."""

    @abstractmethod
    def _now(self) -> Now:
        """Return the store's clock and the wall's."""

    # where things stand

    def progress(self, batch_id: int, *, brief: bool = False) -> Progress:
        """Return where a batch stands; `brief`: its counts alone. `budgets` is left empty."""
        return self._read(
            lambda connection: reads.progress(
                connection, batch_id, lambda: self._now().clock_ms, brief=brief
            )
        )

    def sources(self, batch_id: int) -> list[str]:
        """Return the manifests that a batch was queued from."""
        return self._read(lambda connection: reads.sources(connection, batch_id))

    def outcomes(
        self,
        batch_id: int,
        *,
        states: frozenset[JobState] | None = None,
        statuses: frozenset[str] | None = None,
        at_rest_only: bool = True,
    ) -> Iterator[Outcome]:
        """Yield a batch's outcomes in manifest order; not `at_rest_only`: all that there are."""
        return outcomes.outcomes(
            self._read, batch_id, states=states, statuses=statuses, at_rest_only=at_rest_only
        )

    # what a worker asks about its jobs

    def noted(self, job_id: int, generation: int) -> str:
        """Return a run that late evidence names for a generation without one, or ""."""
        return self._read(lambda connection: reads.noted(connection, job_id, generation))

    def known_runs(self, job_id: int) -> frozenset[str]:
        """Return the runs that the job's generations ended with."""
        return self._read(lambda connection: reads.known_runs(connection, job_id))

    def outputs(self, job_id: int, generation: int) -> dict[str, str]:
        """Return the recorded tool outputs of a generation, by call id."""
        return self._read(lambda connection: reads.outputs(connection, job_id, generation))

    def asked(self, worker: str) -> list[int]:
        """Return the jobs of a worker that a person wants cancelled."""
        return self._read(lambda connection: reads.asked(connection, worker))

    def give_back(self, worker: str, jobs: Sequence[tuple[int, int]]) -> None:
        """Let go of jobs (id, token) that the worker holds and does not carry."""

        def verb(connection: Connection) -> None:
            now = self._now()
            give_back.give_back(connection, worker, jobs, now_ms=now.clock_ms, wall_ms=now.wall_ms)

        self._write(verb)
