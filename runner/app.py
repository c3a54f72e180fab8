"""The Python API, and the composition root.

The one place that makes a clock, a random generator, a sender and a store, and hands them down.
Logic that is found here moves down.
"""

import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from threading import Event
from typing import BinaryIO, Self

import anyio
from anyio import to_thread

from runner import __version__
from runner.config import Settings, as_variables, dialect_options, extra_headers, secret
from runner.core.audit import Audited
from runner.core.batch import Batch, Queued
from runner.core.breaker import Breaker
from runner.core.budget import own_use
from runner.core.call import Call
from runner.core.errors import RunnerError, UsageError, quoted
from runner.core.keys import idempotency_key
from runner.core.model import Job, JobSpec, JobState, Proofs
from runner.core.outcome import Outcome
from runner.core.points import Reach, pass_by
from runner.core.progress import BudgetUse, Progress
from runner.core.retry import RetryPolicy
from runner.core.tokens import too_big
from runner.core.view import Pulse, View, left_s
from runner.dialects.dialect import Dialect, Tag
from runner.dialects.named import named
from runner.export.aside import check_target
from runner.export.write import Form, write
from runner.http.open import open_sender
from runner.http.proxies import Proxies
from runner.http.route import check_base_url
from runner.http.sender import Sender
from runner.manifest.reader import Check
from runner.manifest.sources import STANDARD_INPUT, batch_name, identity
from runner.simulator.started import StartedSimulator
from runner.store.budgets import BudgetRow
from runner.store.cancel import Cancelled
from runner.store.find import Found
from runner.store.retry import Retried
from runner.store.store import Store
from runner.work.audit import AuditPolicy, audit
from runner.work.budgets import Budgets
from runner.work.carried import Assignment
from runner.work.ledger import budget_of
from runner.work.policy import OnAction, OnDoubt, WorkPolicy
from runner.work.pool import Ending, Pool
from runner.work.probe import Probed, probe, probe_job
from runner.work.processes import Fleet
from runner.work.queueing import (
    Interrupted,
    QueuePolicy,
    Rejects,
    Telling,
    check_manifest,
    queue_manifest,
)
from runner.work.signals import interrupts
from runner.work.token_gate import guessed_tokens
from runner.work.tools import load_tools

SIMULATED = "simulate:"
"""The base URL of a rehearsal's batch: the simulator's port changes, the batch does not."""
SIMULATOR_URL = "http://127.0.0.1:8080/v1"
MARK = "KEY-STANDS-HERE"


def wall_s() -> float:
    """Return unix time: for people and for servers' clocks, never to measure a wait."""
    return time.time()  # noqa: TID251 - the clock is made here


def boottime() -> float:
    """Return seconds on a clock that counts suspend (protocol.md 4, 7)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


@dataclass(frozen=True)
class Checked:
    """What `check` found: lines, and what the run will ask of the server."""

    good: int
    bad: int
    threads: int
    lanes: dict[str, int]
    dialect: str
    base_url: str
    proofs: Proofs
    resend: bool


@dataclass(frozen=True)
class Carried:
    """How work ended: where every batch stands, and why it stopped before the end, if it did."""

    batches: tuple[Progress, ...]
    ending: Ending
    queued: Queued | None
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


@dataclass(frozen=True)
class Snippet:
    """A create call to paste.

    `key` is the header that carries the key and what stands before the key in it, None where no
    header does; `variable` is the environment variable that holds it.
    """

    call: Call
    base_url: str
    key: tuple[str, str] | None
    variable: str


@dataclass
class Talk:
    """Where the work says what it does; the command line draws it."""

    warn: Callable[[str], None] = lambda _line: None
    tick: Callable[[View], None] = lambda _view: None
    every_s: float = 0.5


class Runner:
    """One set of settings at work: open it, use it, close it (a context manager)."""

    def __init__(
        self, settings: Settings, *, talk: Talk | None = None, reach: Reach = pass_by
    ) -> None:
        self.settings = settings
        self.talk = talk or Talk()
        self._reach = reach
        self._stack = ExitStack()
        self._store: Store | None = None
        self._simulator: StartedSimulator | None = None
        self._rng = random.Random()
        self._forever = False
        self._patient = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What is opened when it is first needed

    @property
    def store(self) -> Store:
        """The database, opened and migrated on first use."""
        if self._store is None:
            self._store = Store.open(
                self.settings.db,
                reach=self._reach,
                on_trouble=self.talk.warn,
                patient=self._patient,
            )
            self._stack.callback(self._store.close)
        return self._store

    def dialect(self, name: str | None = None, tag: str | None = None) -> Dialect:
        """The dialect of the settings, or of a batch that keeps its own (and its tag)."""
        options = dialect_options(self.settings)
        options.setdefault("tag", self.settings.tag if tag is None else tag)
        return named(name or self.settings.dialect, options)

    def base_url(self, dialect: Dialect) -> str:
        """The base URL in force for new batches; raises `UsageError` where there is none."""
        settings = self.settings
        if settings.simulate:
            return SIMULATED
        given = settings.base_url
        for variable in dialect.url_variables:
            given = given or settings.environ.get(variable, "").strip() or None
        given = given or dialect.base_url
        if given is None:
            raise UsageError(
                f"the dialect {dialect.name} has no base URL of its own since OpenAI's Assistants "
                "endpoint was switched off on 2026-08-26"
                if dialect.name.startswith("openai")
                else f"the dialect {dialect.name} needs a base URL",
                where="--base-url",
                remedy="give the URL of a compatible server, or --dialect azure, langgraph or "
                "responses, or rehearse with --simulate",
            )
        url = check_base_url(given)
        if "//api.openai.com" in url and dialect.name.startswith("openai"):
            self.talk.warn(
                "api.openai.com answers 404 to this API since 2026-08-26; use --dialect responses"
            )
        return url

    def batch_named(self, paths: Sequence[str]) -> str:
        """The batch's name for these manifests: --batch, else the one manifest's own."""
        if len(self.settings.batch) > 1:
            raise UsageError("more than one name", where="--batch", remedy="give one")
        if self.settings.batch:
            return self.settings.batch[0]
        if len(paths) != 1 or paths[0] == STANDARD_INPUT:
            raise UsageError(
                "standard input and several manifests have no name of their own",
                where="--batch",
                remedy="name the batch: --batch NAME",
            )
        return batch_name(paths[0])

    def checker(self, dialect: Dialect) -> Check:
        """The dialect's validation with this command's leniency."""
        lenient = self.settings.lenient
        return lambda line, fields: dialect.check(line, fields, lenient=lenient)

    # Commands

    def check(self, paths: Sequence[str], stdin: BinaryIO, tell: Callable[[str], None]) -> Checked:
        """Validate manifests and say what running them will ask for; nothing is written."""
        dialect = self.dialect()
        threads: set[int] = set()
        lanes: dict[str, int] = {}

        path = ""

        def seen(spec: JobSpec) -> None:
            if self.settings.tpm is not None:
                big = larger_than_budget(spec.body, self.settings.tpm, self.settings.window)
                if big:
                    tell(f"{path}:{spec.line}: tokens: {big} (it goes alone)")
            if spec.thread_id is not None and len(threads) < 1_000_000:
                threads.add(hash(spec.thread_id))
            if spec.lane in lanes or len(lanes) < 1000:
                lanes[spec.lane] = lanes.get(spec.lane, 0) + 1

        good = bad = 0
        for path in paths:
            more = check_manifest(
                path, stdin, self.checker(dialect), self.settings.longest_line, tell, seen
            )
            good, bad = good + more[0], bad + more[1]
        base = self._base_for_check(dialect)
        resend = resends(self.settings.on_doubt, dialect.proofs)
        return Checked(good, bad, len(threads), lanes, dialect.name, base, dialect.proofs, resend)

    def _base_for_check(self, dialect: Dialect) -> str:
        try:
            return self.base_url(dialect)
        except UsageError:
            return ""

    def begin(self, paths: Sequence[str]) -> Batch:
        """Make or find the batch for these manifests; nothing is made where one is not there."""
        name = self.batch_named(paths)
        for path in paths:
            if path != STANDARD_INPUT:
                identity(path)
        known = self.store.batch(name)
        dialect = self.dialect(
            known.dialect if known and not self.settings.given("dialect") else None
        )
        if known is not None and not self._speaks_of_base(dialect):
            base = known.base_url
        else:
            base = self.base_url(dialect)
        batch = self.store.begin(
            name,
            dialect=dialect.name,
            base_url=base,
            options=dialect_options(self.settings),
            weight=self.settings.priority,
            tag=self.settings.tag,
            made_ms=int(wall_s() * 1000),
        )
        if known is not None:
            others = [p for p in self.store.sources(batch.id) if p not in paths]
            if others and not any(p in paths for p in self.store.sources(batch.id)):
                self.talk.warn(
                    f"batch {name} was made from {others[0]}; its jobs stay, --batch names another"
                )
        return batch

    def _speaks_of_base(self, dialect: Dialect) -> bool:
        settings = self.settings
        return bool(
            settings.simulate
            or settings.base_url
            or any(settings.environ.get(name) for name in dialect.url_variables)
        )

    def queue(
        self,
        paths: Sequence[str],
        stdin: BinaryIO,
        *,
        out: str | None = None,
        batch: Batch | None = None,
        telling: Telling | None = None,
    ) -> Queued:
        """Queue manifests; bad lines go to `<out>.rejected.jsonl`, or beside the manifest."""
        batch = batch or self.begin(paths)
        telling = telling or Telling(self.talk.warn)
        dialect = self.dialect(batch.dialect, batch.tag)
        total = Queued()
        if self.settings.strict:
            self._all_good_or_nothing(paths, stdin, dialect)
        for path in paths:
            rejects = Rejects(rejects_path(path, out), self._reach)
            try:
                done = queue_manifest(
                    self.store,
                    batch,
                    path,
                    stdin,
                    self.checker(dialect),
                    QueuePolicy(
                        longest=self.settings.longest_line,
                        replace=self.settings.replace,
                        recheck=self.settings.recheck,
                    ),
                    rejects,
                    telling,
                    now_ms=lambda: int(wall_s() * 1000),
                    reach=self._reach,
                )
            finally:
                rejects.close()
            if rejects.count and rejects.path:
                self.talk.warn(
                    f"{rejects.count} bad lines of {path} are in {rejects.path}: mend and queue them"
                )
            total = _sum(total, done)
        self.store.set_batch(batch.id, queued_whole=True)
        return total

    def _all_good_or_nothing(self, paths: Sequence[str], stdin: BinaryIO, dialect: Dialect) -> None:
        if STANDARD_INPUT in paths:
            raise UsageError(
                "standard input cannot be read twice", where="--strict", remedy="give a file"
            )
        bad = 0
        for path in paths:
            bad += check_manifest(
                path,
                stdin,
                self.checker(dialect),
                self.settings.longest_line,
                self.talk.warn,
                lambda _spec: None,
            )[1]
        if bad:
            raise BadLines(f"{bad} lines are bad and --strict was given: nothing was queued")

    def run(self, paths: Sequence[str], stdin: BinaryIO, *, out: str | None) -> Carried:
        """Queue, work and export; the same call again resumes and redoes nothing."""
        if out is not None:
            check_target(out)
        self._patient = True
        # Opened before a simulator is started for nothing.
        _ = self.store
        with self._serving():
            batch = self.begin(paths)
            done = self._loop([batch], paths, stdin, out)
        rows = None
        if out is not None:
            rows = write(self.outcomes(batch.id), out, Form.JSONL, reach=self._reach)
        return replace(done, rows=rows)

    def work(self, names: Sequence[str], *, forever: bool = False) -> Carried:
        """Carry the jobs of these batches (none named: all) to their rest, or for ever."""
        self._forever = forever
        self._patient = True
        with self._serving():
            return self._loop(self.chosen(names), (), None, None)

    def chosen(self, names: Sequence[str]) -> list[Batch]:
        """The batches of these names, or all there are; raises `UsageError` for an unknown one."""
        if not names:
            return self.store.batches()
        found = []
        for name in names:
            batch = self.store.batch(name)
            if batch is None:
                raise unknown_batch(name, [b.name for b in self.store.batches()])
            found.append(batch)
        return found

    def one(self, name: str | None) -> Batch:
        """The named batch, or the only one there is."""
        if name is not None:
            return self.chosen([name])[0]
        batches = self.store.batches()
        if len(batches) == 1:
            return batches[0]
        known = ", ".join(b.name for b in batches[:10]) or "none yet"
        raise UsageError(
            "which batch?" if batches else "the database holds no batch",
            where=self.settings.db,
            remedy=f"name one of: {known}" if batches else "queue one with `runner run`",
        )

    def outcomes(
        self,
        batch_id: int,
        states: frozenset[JobState] | None = None,
        statuses: frozenset[str] | None = None,
    ) -> Iterator[Outcome]:
        """The batch's outcomes in manifest order, jobs at rest only."""
        return self.store.outcomes(batch_id, states=states, statuses=statuses)

    def export(
        self,
        name: str | None,
        out: str,
        *,
        form: str = "jsonl",
        states: frozenset[JobState] | None = None,
        statuses: frozenset[str] | None = None,
        follow: bool = False,
        formulas: bool = False,
    ) -> int:
        """Write a batch's results; return how many rows. `follow`: as jobs come to rest."""
        check_target(out)
        batch = self.one(name)
        if follow:
            if form != Form.JSONL:
                raise UsageError(
                    f"{form} cannot be written as jobs end", where="--follow", remedy="use jsonl"
                )
            rows = follow_rows(self.store, batch.id, states, statuses)
            return write(rows, out, Form.JSONL, reach=self._reach)
        rows = self.outcomes(batch.id, states, statuses)
        return write(rows, out, Form(form), reach=self._reach, formulas=formulas)

    def status(self, name: str | None = None) -> list[Progress]:
        """Where the named batch stands, or every batch."""
        found = self.chosen([name] if name else [])
        budgets = self._budgets_in_use()
        return [
            replace(self.store.progress(b.id), budgets=budgets.get(b.base_url, ())) for b in found
        ]

    def _budgets_in_use(self) -> dict[str, tuple[BudgetUse, ...]]:
        uses: dict[str, tuple[BudgetUse, ...]] = {}
        for row in self.store.budgets():
            base = row.account.rpartition(" ")[0]
            uses[base] = (*uses.get(base, ()), use_of(row))
        return uses

    def show(self, custom_id: str, name: str | None = None) -> list[Found]:
        """The jobs of this custom_id, with every attempt; raises `UsageError` for none."""
        batch_id = self.one(name).id if name else None
        found = self.store.find(custom_id, batch_id)
        if not found:
            raise UsageError(
                f"no job is named {quoted(custom_id)}",
                where=name or self.settings.db,
                remedy="custom_ids are exact: case, spaces and Unicode form count",
            )
        return found

    def snippet(self, custom_id: str, name: str | None = None) -> Snippet:
        """The exact create call of a job, for pasting; the key is left out."""
        found = self.show(custom_id, name)[0]
        batch = self.one(found.batch)
        dialect = self.dialect(batch.dialect, batch.tag)
        job = job_of(found, batch)
        variable = dialect.key_variables[0] if dialect.key_variables else "API_KEY"
        base = SIMULATOR_URL if batch.base_url == SIMULATED else batch.base_url
        held = [
            (header, value.partition(MARK)[0])
            for header, value in dialect.headers(MARK)
            if MARK in value
        ]
        call = dialect.snippet(job, Tag(batch.tag))
        return Snippet(call, base, held[0] if held else None, variable)

    def retry(
        self,
        name: str | None,
        *,
        statuses: frozenset[str] = frozenset(),
        codes: frozenset[str] = frozenset(),
        only: frozenset[str] = frozenset(),
        even_in_doubt: bool = False,
    ) -> Retried:
        """Failed jobs back to queued as their next generation, earlier runs kept."""
        batch = self.one(name)
        self.store.set_batch(batch.id, stopped="")
        return self.store.retry(
            batch.id,
            statuses=statuses,
            codes=codes,
            only=only,
            even_in_doubt=even_in_doubt,
        )

    def cancel(self, name: str | None, *, only: frozenset[str] = frozenset()) -> Cancelled:
        """Queued jobs end as cancelled; the others are cancelled at the API by a worker."""
        return self.store.cancel(self.one(name).id, only=only)

    def audit(
        self, name: str | None, *, adopt: bool = False, cancel_doubles: bool = False
    ) -> Audited:
        """Ask the API for the runs of every thread of the batch and compare."""
        batch = self.one(name)
        with self._serving():
            return anyio.run(self._audit, batch, adopt, cancel_doubles)

    async def _audit(self, batch: Batch, adopt: bool, cancel_doubles: bool) -> Audited:  # noqa: FBT001 - anyio.run passes by position
        policy = policy_of(self.settings)
        async with AsyncExitStack() as stack:
            budgets = self._new_budgets()
            assignment = self._assignment(batch, policy, budgets, stack)
            wanted = AuditPolicy(adopt, cancel_doubles, policy.timeout_s, policy.doubt_wait_s)
            return await audit(self.store, assignment, wanted, self.talk.warn)

    def probe(self, assistant_id: str | None = None) -> Probed:
        """Ask the server what it can prove, and remember it for its base URL."""
        dialect = self.dialect()
        with self._serving():
            base = self.base_url(dialect)
            url = self._simulator.url if self._simulator is not None else base
            probed = anyio.run(self._probe, dialect, url, assistant_id)
        self.store.set_proofs(base, probed.proofs)
        return probed

    async def _probe(self, dialect: Dialect, url: str, assistant_id: str | None) -> Probed:
        key = secret(self.settings, dialect.key_variables)
        sender = self._sender(dialect, url, key.reveal() if key else None)
        try:
            job = probe_job(dialect.name, assistant_id, secrets.token_hex(8))
            return await probe(
                dialect,
                sender,
                Tag(self.settings.tag),
                job,
                timeout_s=self.settings.timeout,
                now=time.monotonic,
            )
        finally:
            await sender.aclose()

    def upgrade(self) -> str:
        """Bring the tables up to date; return what was done, as one line."""
        self._store = Store.open(self.settings.db, reach=self._reach, upgrade=True)
        self._stack.callback(self._store.close)
        return f"{self._store.label}: up to date"

    def check_database(self) -> list[str]:
        """Return what is wrong with the database; [] where it is sound."""
        return self.store.check()

    def vacuum(self) -> tuple[int, int]:
        """Give unused space back; return the bytes before and after."""
        return self.store.vacuum()

    def copy(self, target: str, name: str | None) -> str:
        """Copy a batch, or all there is, to another database; return what was done."""
        from runner.store.copy import copy_database  # noqa: PLC0415 - only this command needs it

        other = Store.open(target, upgrade=True)
        try:
            done = copy_database(self.store, other, name, lambda _done, _of: None)
        finally:
            other.close()
        return str(done)

    # The loop

    def _loop(
        self,
        batches: Sequence[Batch],
        paths: Sequence[str],
        stdin: BinaryIO | None,
        out: str | None,
    ) -> Carried:
        fast = find_spec("uvloop") is not None
        try:
            return anyio.run(
                self._work, batches, paths, stdin, out, backend_options={"use_uvloop": fast}
            )
        except BaseExceptionGroup as group:
            # What a person caused is one line, however deep among the tasks it was met.
            told, others = group.split(RunnerError)
            if told is None or others is not None:
                raise
            raise first_of(told) from None

    async def _work(
        self,
        batches: Sequence[Batch],
        paths: Sequence[str],
        stdin: BinaryIO | None,
        out: str | None,
    ) -> Carried:
        began = time.monotonic()
        feeding = [bool(paths)]
        queued: list[Queued] = []
        async with AsyncExitStack() as stack:
            worker = await self._worker(batches, feeding, stack)
            async with (
                anyio.create_task_group() as group,
                interrupts(lambda: worker.stop("interrupted"), lambda: os._exit(3)),
            ):
                if stdin is not None and paths:
                    group.start_soon(
                        self._feed, worker, batches[0], paths, stdin, out, feeding, queued
                    )
                group.start_soon(self._report, worker, batches, began)
                ending = await worker.run()
                while feeding[0]:
                    await anyio.sleep(0.02)
                group.cancel_scope.cancel()
        progress = tuple(self.store.progress(b.id) for b in batches)
        return Carried(progress, ending, queued[0] if queued else None, time.monotonic() - began)

    async def _worker(
        self, batches: Sequence[Batch], feeding: list[bool], stack: AsyncExitStack
    ) -> Pool | Fleet:
        """This process's own pool, or a fleet of processes where more than one was asked for."""
        if (self.settings.processes or 1) > 1:
            return self._fleet(batches, feeding)
        policy = replace(policy_of(self.settings), forever=self._forever)
        budgets = self._new_budgets()
        assignments = [self._assignment(b, policy, budgets, stack) for b in batches]
        pool = Pool(
            self.store,
            assignments,
            policy,
            boottime=boottime,
            wall_s=wall_s,
            rng=self._rng,
            reach=self._reach,
            warn=self.talk.warn,
            feeding=lambda: feeding[0],
        )
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        group.start_soon(budgets.run)
        return pool

    def _fleet(self, batches: Sequence[Batch], feeding: list[bool]) -> Fleet:
        ids = [b.id for b in batches]
        environ = dict(self.settings.environ) | as_variables(self.settings)
        environ["RUNNER_PROCESSES"] = "1"
        environ["RUNNER_QUIET"] = environ["RUNNER_CHILD"] = "1"
        environ["RUNNER_BATCH"] = ",".join(b.name for b in batches)
        environ["RUNNER_CONCURRENCY"] = str(
            max(1, self.settings.concurrency // (self.settings.processes or 1))
        )
        if self._simulator is not None:
            environ["RUNNER_SIMULATOR_URL"] = self._simulator.url
            environ["RUNNER_SIMULATE"] = "0"

        def at_rest() -> bool:
            return not feeding[0] and not self._forever and self.store.left(ids).jobs == 0

        def stopped() -> str:
            return next(
                (p.stopped for i in ids if (p := self.store.progress(i, brief=True)).stopped), ""
            )

        command = [sys.executable, "-P", "-m", "runner", "work", "--forever"]
        return Fleet(
            command,
            environ,
            self.settings.processes or 1,
            at_rest,
            stopped,
            self.talk.warn,
            self.settings.grace,
        )

    async def _feed(
        self,
        worker: Pool | Fleet,
        batch: Batch,
        paths: Sequence[str],
        stdin: BinaryIO,
        out: str | None,
        feeding: list[bool],
        queued: list[Queued],
    ) -> None:
        """Queue the manifests in a thread while the pool works on what is already there."""
        telling = Telling(self.talk.warn, queued=worker.added, stop=lambda: worker.stopping)
        try:
            queued.append(
                await to_thread.run_sync(
                    lambda: self.queue(paths, stdin, out=out, batch=batch, telling=telling)
                )
            )
        except Interrupted:
            pass
        finally:
            feeding[0] = False
            worker.poke()

    async def _report(self, worker: Pool | Fleet, batches: Sequence[Batch], began: float) -> None:
        """Show where the work stands, a few times a second at most."""
        pulse = Pulse()
        while True:
            await anyio.sleep(self.talk.every_s)
            for batch in batches:
                progress = await to_thread.run_sync(
                    partial(self.store.progress, batch.id, brief=True)
                )
                now = time.monotonic()
                rate = pulse.beat(now, progress.at_rest) if batch is batches[0] else 0.0
                self.talk.tick(
                    View(
                        progress,
                        worker.flight,
                        worker.ceiling,
                        rate,
                        left_s(progress, rate),
                        worker.limits(),
                        now - began,
                    )
                )

    def _new_budgets(self) -> Budgets:
        return Budgets(
            self.store,
            rpm=self.settings.rpm,
            read_rpm=self.settings.read_rpm,
            tpm=self.settings.tpm,
            window_s=self.settings.window,
            rng=self._rng,
            warn=self.talk.warn,
        )

    def _assignment(
        self, batch: Batch, policy: WorkPolicy, budgets: Budgets, stack: AsyncExitStack
    ) -> Assignment:
        dialect = self.dialect(batch.dialect, batch.tag)
        base = batch.base_url
        if base == SIMULATED:
            url = self._simulator.url if self._simulator else self.settings.simulator_url
            if not url:
                raise UsageError(
                    f"batch {batch.name} is a rehearsal",
                    where="--simulate",
                    remedy="give --simulate to go on with it",
                )
            base = url
        key = None if batch.base_url == SIMULATED else secret(self.settings, dialect.key_variables)
        sender = self._sender(dialect, base, key.reveal() if key else None)
        stack.push_async_callback(sender.aclose)
        if self.settings.look_first:
            batch = replace(batch, look_first=True)
        proofs = batch.proofs or dialect.proofs
        account = account_of(batch.base_url, key.reveal() if key else "")
        return Assignment(
            batch,
            dialect,
            sender,
            Tag(batch.tag),
            proofs,
            resends(self.settings.on_doubt, proofs),
            Breaker(policy.max_failures, policy.max_failed_share),
            budgets.gate(account, "creates"),
            budgets.gate(account, "reads"),
            budgets.tokens(account),
            max(policy.doubt_wait_s, batch.wait_ms / 1000),
        )

    def _sender(self, dialect: Dialect, base: str, key: str | None) -> Sender:
        settings, env = self.settings, self.settings.environ
        proxies = Proxies(
            env.get("http_proxy", ""),
            env.get("https_proxy") or env.get("HTTPS_PROXY", ""),
            tuple((env.get("no_proxy") or env.get("NO_PROXY", "")).split(",")),
        )
        return open_sender(
            settings.http,  # type: ignore[arg-type] # one of its words: config checked
            base_url=base,
            headers=(*dialect.headers(key), *extra_headers(settings)),
            proxies=Proxies() if settings.simulate else proxies,
            cert_file=env.get("SSL_CERT_FILE", ""),
            cert_dir=env.get("SSL_CERT_DIR", ""),
            longest_s=settings.timeout,
        )

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """Have the simulator up while a rehearsal works."""
        if not self.settings.simulate:
            yield
            return
        state = f"{self.settings.db}.simulator.jsonl"
        try:
            simulator = StartedSimulator(state, self.settings.simulator)
        except OSError as trouble:
            raise UsageError(str(trouble), where="--simulate") from None
        with simulator:
            self._simulator = simulator
            yield
        self._simulator = None


def first_of(group: BaseExceptionGroup[RunnerError]) -> RunnerError:
    """Return the first error of a group, however nested."""
    for error in group.exceptions:
        return first_of(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group without an exception")


class BadLines(UsageError):
    """--strict met bad lines: exit 1, nothing was queued."""

    exit_code = 1


def policy_of(settings: Settings) -> WorkPolicy:
    """Return how a pool works under these settings."""
    failures, share = settings.failures_limit()
    return WorkPolicy(
        concurrency=settings.concurrency,
        retry=RetryPolicy(max_attempts=settings.max_attempts),
        timeout_s=settings.timeout,
        doubt_wait_s=settings.doubt_wait,
        stale_wait_s=settings.stale_wait,
        lease_s=settings.lease,
        margin_s=settings.lease / 3,
        on_doubt=OnDoubt(settings.on_doubt) if settings.on_doubt else None,
        deadline_s=settings.deadline,
        retry_runs=settings.retry_runs,
        stream=settings.stream,
        beside=frozenset(settings.with_),
        polls_a_run=settings.polls,
        on_action=OnAction(settings.on_action),
        tools=load_tools(settings.tools) if settings.tools else None,
        tools_timeout_s=settings.tools_timeout,
        grace_s=settings.grace,
        stop_after_s=settings.stop_after,
        max_failures=failures,
        max_failed_share=share,
        max_cost=settings.max_cost,
        version=__version__,
    )


def job_of(found: Found, batch: Batch) -> Job:
    """Return a found job as a dialect takes it."""
    return Job(
        id=found.job.id,
        batch_id=batch.id,
        custom_id=found.job.custom_id,
        state=found.job.state,
        generation=found.job.generation,
        attempt=found.job.attempt,
        token=0,
        key=idempotency_key(batch.uid, found.job.custom_id, found.job.generation),
        thread_id=found.job.thread_id,
        own_thread=False,
        lane=0,
        doubted=False,
        closed_ms=0,
        presumed=False,
        slow_close=False,
        first_intent_ms=0,
        cancel_asked=False,
        refusals=0,
        run_id=found.job.run_id,
        created_ms=0,
        body=found.job.body,
        extra=found.job.extra,
    )


def follow_rows(
    store: Store,
    batch_id: int,
    states: frozenset[JobState] | None,
    statuses: frozenset[str] | None,
) -> Iterator[Outcome]:
    """Yield outcomes in the order of their ends, until every job of the batch is at rest."""
    after = (0, 0)
    pause = Event()
    while True:
        whole = store.progress(batch_id, brief=True).whole
        for cursor, outcome in store.settled_since(batch_id, after):
            after = cursor
            if states is not None and outcome.state not in states:
                continue
            if statuses is not None and outcome.status not in statuses:
                continue
            yield outcome
        if whole:
            return
        pause.wait(0.5)


def use_of(row: BudgetRow) -> BudgetUse:
    """Return one budget's use, as `status` shows it."""
    return BudgetUse(
        row.kind,
        row.lim,
        row.win,
        row.source,
        round(own_use(budget_of(row), row.db_now, row.seq - 1)),
        max(0.0, row.closed_until - row.db_now),
        row.closed_why,
        row.source in ("closure", "search"),
    )


def resends(on_doubt: str | None, proofs: Proofs) -> bool:
    """Whether a doubt that no look can settle is sent again: asked for, or nothing can be left."""
    return on_doubt == "resend" or (on_doubt is None and proofs.stateless)


def larger_than_budget(body: bytes, tpm: float, window_s: float | None) -> str:
    """Return what to say of a job that is larger than the whole tokens budget, or ""."""
    limit = tpm * (window_s or 60.0) / 60
    guess = guessed_tokens(body, ())
    if not too_big(guess, limit):
        return ""
    return f"about {guess:,.0f}, more than the {limit:,.0f} that --tpm allows in a window"


def account_of(base_url: str, key: str) -> str:
    """Return the API account's name: base URL and the key's fingerprint, never the key."""
    mark = (
        blake2b(key.encode(), digest_size=6, person=b"runner-account").hexdigest() if key else "-"
    )
    return f"{base_url} {mark}"


def rejects_path(manifest: str, out: str | None) -> str | None:
    """Where a manifest's bad lines go: beside the results, else beside the manifest."""
    if out is not None and out != "-" and not out.startswith("/dev/"):
        return f"{out}.rejected.jsonl"
    if manifest == STANDARD_INPUT:
        return "stdin.rejected.jsonl"
    return f"{manifest}.rejected.jsonl"


def unknown_batch(name: str, known: Sequence[str]) -> UsageError:
    """The error for a batch that is not there."""
    return UsageError(
        f"no batch is named '{name}'",
        where="--batch",
        remedy=f"known are {', '.join(known[:10])}" if known else "queue one with `runner run`",
    )


def _sum(one: Queued, two: Queued) -> Queued:
    return Queued(
        one.new + two.new,
        one.known + two.known,
        one.replaced + two.replaced,
        one.bad + two.bad,
        one.conflicts + two.conflicts,
        one.vanished + two.vanished,
        (one.vanished_names + two.vanished_names)[:5],
        two.unchanged,
    )
