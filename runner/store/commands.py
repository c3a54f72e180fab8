"""The other half of the store's face: what is read, and what a person commands.

`Store` is one; it is parted so that the path of the work (`store.py`) reads by itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from runner.core.errors import RunnerError
from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.core.progress import Progress, TurnElsewhere, WorkerSeen
from runner.store import audit, batch_scan, budgets, check, find, give_back, outcomes, reads
from runner.store.audit import ThreadSeen
from runner.store.budgets import Ahead, BudgetRow, Changed, Leased
from runner.store.cancel import Cancelled, cancel
from runner.store.columns import NUMBER
from runner.store.find import Found
from runner.store.outcomes import Cursor
from runner.store.record import Now
from runner.store.retry import USUAL, Retried, Wanted, retry

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
    def _lightly(self, verb: Callable[[Connection], T], *, whole: bool = False) -> T:
        """Run a verb whose writes need not survive a power cut; `whole`: as one transaction."""

    @abstractmethod
    def _now(self) -> Now:
        """Return the store's clock and the wall's."""

    def reading(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb of this room in a short read of its own."""
        return self._read(verb)

    def writing(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb of this room as one transaction; it may run more than once."""
        return self._write(verb)

    # where things stand

    def workers(self) -> tuple[WorkerSeen, ...]:
        """Return the workers whose leases nobody has ended, the oldest first."""
        return self._read(lambda connection: reads.workers(connection, self._now().clock_ms))

    def progress(self, batch_id: int, *, brief: bool = False) -> Progress:
        """Return where a batch stands; `brief`: its counts alone. `budgets` is left empty."""
        return self._read(
            lambda connection: reads.progress(
                connection, batch_id, lambda: self._now().clock_ms, brief=brief
            )
        )

    def lanes(self, batch_id: int) -> list[int]:
        """Return the numbers of a batch's lanes."""
        return self._read(lambda connection: reads.lanes(connection, batch_id))

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

    def find(self, custom_id: str, batch_id: int | None = None) -> list[Found]:
        """Return the jobs of that name, in one batch or in all, with all that is known of them."""
        return self._read(
            lambda connection: find.find(connection, custom_id, batch_id, self._now().clock_ms)
        )

    # what a person commands

    def retry(
        self,
        batch_id: int,
        *,
        states: frozenset[JobState] = USUAL,
        statuses: frozenset[str] = frozenset(),
        codes: frozenset[str] = frozenset(),
        only: frozenset[str] = frozenset(),
        even_in_doubt: bool = False,
    ) -> Retried:
        """Put jobs at rest back to queued as their next generation; empty filters ask nothing.

        Jobs that succeeded only where `only` names them, jobs in doubt only with `even_in_doubt`.
        Transactions of 1,000 jobs: given again after a kill it goes on where it was.
        """
        wanted = Wanted(states, statuses, codes, bool(only), even_in_doubt)
        numbers = sorted(NUMBER[state] for state in wanted.all_states if state.at_rest)
        total = Retried(unknown=self._unknown(batch_id, only))
        for ids in self._ids(batch_id, only, numbers):
            total += self._write(partial(retry, ids=ids, wanted=wanted))
        return total

    def cancel(self, batch_id: int, *, only: frozenset[str] = frozenset()) -> Cancelled:
        """Cancel a batch's jobs that are not at rest, or those of them that `only` names.

        What nobody holds ends at once; the others are asked to, and their workers end them.
        """
        total = Cancelled(unknown=self._unknown(batch_id, only))
        for ids in self._ids(batch_id, only, (0, 1, 2)):
            total += self._write(partial(cancel, ids=ids, wall_ms=self._now().wall_ms))
        return total

    def _ids(
        self, batch_id: int, only: frozenset[str], states: Sequence[int]
    ) -> Iterator[list[int]]:
        if only:
            return batch_scan.named(self._read, batch_id, only)
        return batch_scan.in_states(self._read, batch_id, states)

    def _unknown(self, batch_id: int, only: frozenset[str]) -> tuple[str, ...]:
        return self._read(lambda connection: batch_scan.unknown(connection, batch_id, only))

    # whether things are as they should be

    def settled_since(
        self, batch_id: int, after: Cursor = (0, 0)
    ) -> Iterator[tuple[Cursor, Outcome]]:
        """Yield jobs at rest in the order of their ends, each with the cursor to go on from.

        Ends carry their workers' wall clocks: with several hosts, go on from a little before the
        last cursor, and drop what was there already.
        """
        return outcomes.settled_since(self._read, batch_id, after)

    def turn_elsewhere(self, batch_id: int) -> TurnElsewhere | None:
        """Return a job of the batch that waits for a job of another batch on its thread."""
        return self._read(lambda connection: reads.turn_elsewhere(connection, batch_id))

    def audit_threads(self, batch_id: int) -> Iterator[ThreadSeen]:
        """Yield what is known of the runs on each of a batch's threads."""
        return audit.threads(self._read, batch_id)

    def audit_again(self, thread: ThreadSeen) -> ThreadSeen:
        """Return what is known by now of the runs on a thread."""
        return audit.again(self._read, thread)

    def adopt(self, job_id: int, generation: int, run_id: str) -> bool:
        """Give a run to a job at rest that knows of none; a worker follows it to its end."""
        return self._write(
            lambda connection: audit.adopt(
                connection, job_id, generation, run_id, self._now().wall_ms
            )
        )

    def check(self) -> list[str]:
        """Return what is wrong with the database, a line a finding; empty where it is sound."""
        try:
            return self._read(check.check)
        except RunnerError as error:
            # A file so damaged that it cannot be read is a finding too.
            return [str(error)]

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

    # budgets: seconds on the database's clock, on a connection of their own

    def budget(self, account: str, kind: str, *, step: float) -> int:
        """Return the number of an account's budget; made with this step where it is missing."""
        return self._lightly(lambda connection: budgets.made(connection, account, kind, step))

    def budget_look(self, budget_id: int) -> BudgetRow:
        """Return a budget's row and the database's clock."""
        return self._lightly(lambda connection: budgets.look(connection, budget_id))

    def budgets(self) -> list[BudgetRow]:
        """Return all budgets, by account and kind."""
        return self._lightly(budgets.every)

    def budget_lease(
        self, budget_id: int, n: float, *, hold: float, horizon: float, clamp: float
    ) -> Leased | None:
        """Lease n permits one step apart, none before now + `hold`; None: too far ahead."""
        ahead = Ahead(hold, horizon, clamp)
        return self._lightly(lambda connection: budgets.lease(connection, budget_id, n, ahead))

    def budget_lease_two(
        self, tokens_id: int, tokens: float, tokens_ahead: Ahead, creates_id: int, ahead: Ahead
    ) -> tuple[Leased, Leased] | None:
        """Lease tokens and one create, both or neither; the later of the two slots counts."""

        def verb(connection: Connection) -> tuple[Leased, Leased]:
            reserved = budgets.lease(connection, tokens_id, tokens, tokens_ahead)
            create = reserved and budgets.lease(connection, creates_id, 1, ahead)
            if reserved is None or create is None:
                raise _TooFarAheadError
            return reserved, create

        try:
            return self._lightly(verb, whole=True)
        except _TooFarAheadError:
            return None

    def budget_close(self, budget_id: int, for_s: float, why: str) -> None:
        """Shut a budget's gate for everybody; one that is shut for longer stays so."""
        self._lightly(lambda connection: budgets.close(connection, budget_id, for_s, why))

    def budget_correct(self, budget_id: int, seconds: float) -> None:
        """Move the first free slot by what a reservation was too small."""
        self._lightly(lambda connection: budgets.correct(connection, budget_id, seconds))

    def budget_save(self, budget_id: int, version: int, **columns: Changed) -> bool:
        """Write what was learned, if nobody has since that version."""
        return self._lightly(
            lambda connection: budgets.save(connection, budget_id, version, columns)
        )


class _TooFarAheadError(Exception):
    """One of two leases was refused: the other is rolled back."""
