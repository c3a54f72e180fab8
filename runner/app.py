"""What the commands do, one method each: the command line and the Python API (`api`) call these.

Logic that is found here moves down.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from io import BytesIO
from itertools import chain
from threading import Event
from typing import TYPE_CHECKING, BinaryIO, Self

import anyio
from msgspec import Struct
from msgspec.structs import replace

from runner.carrying import Carried, Feed, carry
from runner.composition import SIMULATED, Composition, Talk, policy_of, resends, wall_s
from runner.config import Settings, dialect_options, secret
from runner.core.audit import Audited
from runner.core.batch import Batch, Conflict, Queued
from runner.core.budget import own_use
from runner.core.call import Call
from runner.core.errors import RunnerError, UsageError, quoted
from runner.core.keys import idempotency_key
from runner.core.model import BadLine, Job, JobSpec, JobState, Proofs
from runner.core.outcome import Outcome
from runner.core.points import Reach, pass_by
from runner.core.progress import BudgetUse, Progress
from runner.core.tokens import too_big
from runner.dialects.dialect import Dialect, Tag
from runner.export.aside import check_target
from runner.export.reading import from_results
from runner.export.write import Form, write
from runner.http.open import check_choice
from runner.manifest.reader import Check
from runner.manifest.sources import STANDARD_INPUT, batch_name, identity, open_manifest
from runner.store.budgets import BudgetRow
from runner.store.cancel import Cancelled
from runner.store.elsewhere import Elsewhere
from runner.store.find import Found
from runner.store.retry import Retried
from runner.store.store import Store
from runner.work.audit import AuditPolicy, audit
from runner.work.intake import IN_MEMORY, BadJob, Intake, known_otherwise, name_of
from runner.work.ledger import budget_of
from runner.work.probe import Probed, probe, probe_job
from runner.work.queueing import (
    QueuePolicy,
    Rejects,
    Telling,
    check_manifest,
    queue_manifest,
)
from runner.work.reading import Recipe, check_of
from runner.work.resting import Resting
from runner.work.token_gate import likely_tokens

if TYPE_CHECKING:
    from runner.store.copy import Copied

SIMULATOR_URL = "http://127.0.0.1:8080/v1"
MARK = "KEY-STANDS-HERE"


class Checked(Struct, frozen=True):
    """What `check` found: lines, and what the run will ask of the server."""

    good: int
    bad: int
    threads: int
    lanes: dict[str, int]
    dialect: str
    base_url: str
    proofs: Proofs
    resend: bool


class Snippet(Struct, frozen=True):
    """A create call to paste.

    `key` is the header that carries the key and what stands before the key in it, None where no
    header does; `variable` is the environment variable that holds it.
    """

    call: Call
    base_url: str
    key: tuple[str, str] | None
    variable: str


class Commands:
    """One set of settings at work: open it, use it, close it (a context manager)."""

    def __init__(
        self, settings: Settings, *, talk: Talk | None = None, reach: Reach = pass_by
    ) -> None:
        self.settings = settings
        self.parts = Composition(settings, talk=talk, reach=reach)
        self.talk = self.parts.talk
        self._reach = reach

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.parts.__exit__(*exc)

    @property
    def store(self) -> Store:
        """The database, opened and migrated on first use."""
        return self.parts.store

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
        return check_of(dialect, lenient=self.settings.lenient)

    def recipe(self, batch: Batch) -> Recipe:
        """What a process of its own makes a batch's checker by."""
        options = self.parts.dialect_options(batch.tag)
        return Recipe(batch.dialect, options, self.settings.lenient)

    # Commands

    def check(self, paths: Sequence[str], stdin: BinaryIO, tell: Callable[[str], None]) -> Checked:
        """Validate manifests and say what running them will ask for; nothing is written."""
        dialect = self.parts.dialect()
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
            return self.parts.base_url(dialect)
        except UsageError:
            return ""

    def begin(self, paths: Sequence[str], name: str | None = None) -> Batch:
        """Make or find the batch for these manifests; nothing is made where one is not there."""
        name = name or self.batch_named(paths)
        for path in paths:
            if path not in (STANDARD_INPUT, IN_MEMORY):
                identity(path)
        known = self.store.batch(name)
        dialect = self.parts.dialect(
            known.dialect if known and not self.settings.given("dialect") else None
        )
        if known is not None and not self._speaks_of_base(dialect):
            base = known.base_url
        else:
            base = self.parts.base_url(dialect)
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
        elsewhere: Elsewhere | None = None,
    ) -> Queued:
        """Queue manifests; bad lines go to `<out>.rejected.jsonl`, or beside the manifest.

        `elsewhere`: what ended well there is left out, unless it is known here already.
        """
        batch = batch or self.begin(paths)
        telling = telling or Telling(self.talk.warn)
        dialect = self.parts.dialect(batch.dialect, batch.tag)
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
                        elsewhere=elsewhere.has if elsewhere is not None else None,
                    ),
                    rejects,
                    telling,
                    recipe=self.recipe(batch),
                    now_ms=lambda: int(wall_s() * 1000),
                    reach=self._reach,
                )
            finally:
                rejects.close()
            if rejects.trouble:
                self.talk.warn(f"bad lines of {path} are told here only: {rejects.trouble}")
            elif rejects.count and rejects.path:
                self.talk.warn(
                    f"{rejects.count} bad lines of {path} are in {rejects.path}: mend and queue them"
                )
            total = _sum(total, done)
        self.store.set_batch(batch.id, queued_whole=True)
        return total

    def elsewhere(self, paths: Sequence[str], stdin: BinaryIO) -> Elsewhere:
        """Read results that were made elsewhere; raises `UsageError` for a line that is none."""
        found = Elsewhere()
        for path in paths:
            if path != STANDARD_INPUT:
                identity(path)
            with open_manifest(path, stdin) as lines:
                found.add(from_results(lines, path))
        return found

    def intake(self, batch: Batch, bad: Callable[[BadJob], None]) -> Intake:
        """Begin to queue jobs of a program into a batch; `bad` is told of each that is not."""
        return Intake(
            self.store,
            batch,
            self.checker(self.parts.dialect(batch.dialect, batch.tag)),
            longest=self.settings.longest_line,
            replace=self.settings.replace,
            now_ms=lambda: int(wall_s() * 1000),
            bad=bad,
            warn=self.talk.warn,
        )

    def queue_file(
        self, batch: Batch, path: str, bad: Callable[[BadJob], None], telling: Telling
    ) -> Queued:
        """Queue a manifest for a program: its bad lines are told as jobs are, and not written."""

        def tell(line: BadLine, _path: str) -> None:
            reason = "; ".join(map(str, line.complaints))
            bad(BadJob(line.line - 1, name_of(line.raw), reason, line.raw))

        def tell_conflict(conflict: Conflict) -> None:
            reason = known_otherwise(conflict)
            bad(BadJob(conflict.line - 1, conflict.custom_id, reason, None))

        return queue_manifest(
            self.store,
            batch,
            path,
            BytesIO(),
            self.checker(self.parts.dialect(batch.dialect, batch.tag)),
            QueuePolicy(
                longest=self.settings.longest_line,
                replace=self.settings.replace,
                recheck=self.settings.recheck,
            ),
            Rejects(None, self._reach, tell=tell),
            replace(telling, conflict=tell_conflict),
            recipe=self.recipe(batch),
            now_ms=lambda: int(wall_s() * 1000),
            reach=self._reach,
        )

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
        check_choice(self.settings.http)
        self.parts.patient = True
        # Opened before a simulator is started for nothing.
        _ = self.store
        with self.parts.serving():
            batch = self.begin(paths)
            feed = Feed(
                batch,
                lambda telling: self.queue(paths, stdin, out=out, batch=batch, telling=telling),
            )
            done = carry(self.parts, [batch], feed=feed)
        rows = None
        if out is not None:
            rows = write(self.outcomes(batch.id), out, Form.JSONL, reach=self._reach)
        return replace(done, rows=rows)

    def work(self, names: Sequence[str], *, forever: bool = False) -> Carried:
        """Carry the jobs of these batches (none named: all) to their rest, or for ever."""
        self.parts.patient = True
        with self.parts.serving():
            every = forever and not names
            chosen = self.chosen(names) if names else self._fitting(told=not every)
            return carry(self.parts, chosen, forever=forever, every=every)

    def _fitting(self, *, told: bool) -> list[Batch]:
        """Return the batches that these settings can work on, warning of the others with jobs left.

        Raises `UsageError` where there is work, and none of it fits. `told` False: who works looks
        at all batches again and tells of them.
        """
        fitting: list[Batch] = []
        refused: list[RunnerError] = []
        for batch in self.store.batches():
            try:
                self.parts.check_fits(batch)
            except RunnerError as error:
                if self.store.left([batch.id]).jobs:
                    refused.append(error)
                    if told:
                        self.talk.warn(f"batch {batch.name} is not worked on here: {error}")
            else:
                fitting.append(batch)
        if refused and told and not self.store.left([batch.id for batch in fitting]).jobs:
            raise refused[0]
        return fitting

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
            where=self.store.label,
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
                where=name or self.store.label,
                remedy="custom_ids are exact: case, spaces and Unicode form count",
            )
        return found

    def snippet(self, custom_id: str, name: str | None = None) -> Snippet:
        """The exact create call of a job, for pasting; the key is left out."""
        found = self.show(custom_id, name)[0]
        batch = self.one(found.batch)
        dialect = self.parts.dialect(batch.dialect, batch.tag)
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
        with self.parts.serving():
            return anyio.run(self._audit, batch, adopt, cancel_doubles)

    async def _audit(self, batch: Batch, adopt: bool, cancel_doubles: bool) -> Audited:  # noqa: FBT001 - anyio.run passes by position
        policy = policy_of(self.settings)
        async with AsyncExitStack() as stack:
            budgets = self.parts.budgets()
            assignment = self.parts.assignment(batch, policy, budgets, stack)
            wanted = AuditPolicy(adopt, cancel_doubles, policy.timeout_s, policy.doubt_wait_s)
            return await audit(self.store, assignment, wanted, self.talk.warn)

    def probe(self, assistant_id: str | None = None) -> Probed:
        """Ask the server what it can prove, and remember it for its base URL."""
        dialect = self.parts.dialect()
        with self.parts.serving():
            base = self.parts.base_url(dialect)
            url = self.parts.simulator.url if self.parts.simulator is not None else base
            probed = anyio.run(self._probe, dialect, url, assistant_id)
        self.store.set_proofs(base, probed.proofs)
        return probed

    async def _probe(self, dialect: Dialect, url: str, assistant_id: str | None) -> Probed:
        key = secret(self.settings, dialect.key_variables)
        sender = self.parts.sender(dialect, url, key.reveal() if key else None)
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
        return f"{self.parts.upgrade().label}: up to date"

    def check_database(self) -> list[str]:
        """Return what is wrong with the database; [] where it is sound."""
        self.parts.must_be_there()
        return self.store.check()

    def vacuum(self) -> tuple[int, int]:
        """Give unused space back; return the bytes before and after."""
        self.parts.must_be_there()
        return self.store.vacuum()

    def copy(
        self, target: str, name: str | None, on_progress: Callable[[int, int], None]
    ) -> "Copied":
        """Copy a batch, or all there is, to another database; return what was done.

        `on_progress` is told the jobs copied and how many there are.
        """
        from runner.store.copy import copy_database  # noqa: PLC0415 - only this command needs it

        self.parts.must_be_there()
        other = Store.open(target, upgrade=True)
        try:
            return copy_database(self.store, other, name, on_progress)
        finally:
            other.close()


class BadLines(UsageError):
    """--strict met bad lines: exit 1, nothing was queued."""

    exit_code = 1


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
    resting = Resting(store, batch_id)
    pause = Event()
    while True:
        whole = store.progress(batch_id, brief=True).whole
        for outcome in chain(resting.more(), resting.last() if whole else ()):
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


def larger_than_budget(body: bytes, tpm: float, window_s: float | None) -> str:
    """Return what to say of a job that is larger than the whole tokens budget, or ""."""
    limit = tpm * (window_s or 60.0) / 60
    guess = likely_tokens(body)
    if not too_big(guess, limit):
        return ""
    return f"about {guess:,.0f}, more than the {limit:,.0f} that --tpm allows in a window"


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
        one.elsewhere + two.elsewhere,
    )
