"""The store's face: one method a verb, each of whose SQL lives in the file named by the verb.

Verbs run in the writer thread, one transaction each; called from another thread they block until
they are durable. `record` does not block: its caller is called back.
"""

import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from random import Random
from threading import Event
from typing import Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from runner.core.batch import Batch
from runner.core.errors import UsageError
from runner.core.model import Job, Proofs
from runner.core.moves import Move
from runner.core.points import Point, Reach, pass_by
from runner.store import batches, claim, leases, locks, opening, space
from runner.store.add import Queueing
from runner.store.claim import Left, Want
from runner.store.clock import Clock, MachineClock, boot_id
from runner.store.commands import Commands
from runner.store.engine import Engines
from runner.store.leases import Enlisted, Other, TakenOver
from runner.store.light import LightWriter
from runner.store.listen import Listener
from runner.store.patience import Patience, Trouble, line_of
from runner.store.place import place_of
from runner.store.record import Now, check
from runner.store.taking_over import TakeOver
from runner.store.writer import Done, Notify, Writer

T = TypeVar("T")


def _silent(_text: str) -> None:
    """Tell nobody."""


class Store(Commands):
    """A database of jobs, open. Its methods may be called from any thread."""

    def __init__(self, engines: Engines, reach: Reach, clock: Clock, trouble: Trouble) -> None:
        self._engines = engines
        self._reach = reach
        self._clock = clock
        self._trouble = trouble
        self._offset_ms = 0
        self._locks: dict[str, locks.Lock] = {}
        self._boot = boot_id()
        self._host = socket.gethostname()
        self._rng = Random()
        self._light = LightWriter(engines.place, trouble)
        self._listener: Listener | None = None
        self._writer = Writer(engines, self._now, reach, trouble)
        self._take_over = TakeOver(
            self._write,
            self._now,
            trouble.met_s,
            boot=self._boot,
            one_machine=self.engine_name == "sqlite",
        )

    @classmethod
    def open(
        cls,
        url: str,
        *,
        reach: Reach = pass_by,
        upgrade: bool | None = None,
        clock: Clock | None = None,
        on_trouble: Callable[[str], None] | None = None,
        patient: bool = False,
    ) -> Self:
        """Open a database, made or brought up to date where that may be done by itself.

        `url`: a path, ":memory:", sqlite:///PATH or postgresql://…. `upgrade` None: SQLite always,
        PostgreSQL only when it has none of our tables; True always; False never. `on_trouble` is
        told, from any thread, what is waited for; `patient` waits for a server that is away, too.
        `UsageError` where it cannot be used.
        """
        place = place_of(url)
        trouble = Trouble(on_trouble if on_trouble is not None else _silent)
        engines = opening.engines_of(place)
        try:
            opening.make_ready(engines, reach, trouble, upgrade=upgrade, patient=patient)
        except BaseException:
            engines.dispose()
            raise
        store = cls(engines, reach, clock if clock is not None else MachineClock(), trouble)
        try:
            store._start()
        except BaseException:
            store.close()
            raise
        return store

    def _start(self) -> None:
        if self.engine_name == "sqlite":
            self._write(
                lambda connection: opening.after_boot(connection, self._boot, self.now_ms())
            )
        else:
            self._set_offset()

    @property
    def engine_name(self) -> str:
        """Return "sqlite" or "postgresql"."""
        return self._engines.place.engine_name

    @property
    def label(self) -> str:
        """Return the database's place for people, without a secret."""
        return self._engines.place.label

    @property
    def trouble(self) -> str:
        """Return what broke the store, as one line; "" while all is well.

        After it each move is called back with False and each verb raises `broken`.
        """
        return self._writer.trouble

    @property
    def broken(self) -> BaseException | None:
        """Return what broke the store: `Stopped` (exit 3), or a bug of ours."""
        return self._writer.broken

    def close(self) -> None:
        """Commit what is queued, and let go of the database; a second time does nothing."""
        self._writer.close()
        if self._listener is not None:
            self._listener.close()
        self._light.close()
        opening.tidy(self._engines)
        self._engines.dispose()
        for lock in self._locks.values():
            # The file stays where its worker has not retired: free, it proves that worker dead.
            lock.drop()
        self._locks.clear()

    def now_ms(self) -> int:
        """Return milliseconds on the clock of all `clock_*` columns.

        SQLite: since this machine started, sleep counted. PostgreSQL: the server's own time.
        """
        return self._clock.boot_ms() + self._offset_ms

    def _now(self) -> Now:
        return Now(self.now_ms(), self._clock.wall_ms())

    def on_committed(self, notify: Notify) -> None:
        """Have each committed group's (done, won) pairs handed to `notify`, in one call.

        It is called in the writer's thread; without it each `done` is.
        """
        self._writer.on_committed(notify)

    def record(self, move: Move, done: Done) -> None:
        """Write a move down; `done` is called with True when it is durable, False when refused.

        Refused: the job's row no longer says what the move was decided on, so the lease is lost;
        or the store is broken (`trouble`). Blocks only while 50,000 moves wait.
        `ImpossibleError` for a move that the table of states does not know.
        """
        check(move)
        self._writer.put([(move, done)])

    def record_all(self, moves: Sequence[tuple[Move, Done]]) -> None:
        """Write moves down that `check` has passed, as `record` does, in one group if it may be."""
        self._writer.put(moves)

    def ask(self, verb: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Run a verb in the writer's thread after all that was recorded; `done` gets its end."""
        self._writer.ask(verb, done)

    def tell_silence(self) -> None:
        """Tell that the database does not answer, once while it lasts: a statement hangs."""
        self._trouble.meet(line_of(self._engines.place), worth_telling=True)

    def own_id(self) -> str:
        """Return an id of this database, made when it is first asked for: no address tells it."""
        return self._write(lambda connection: opening.own_id(connection, secrets.token_hex(4)))

    def call(self, verb: Callable[[], T]) -> T:
        """Run a verb in the writer's thread, and return or raise what it does."""
        return self._writer.call(verb)

    def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard`, in another thread, when jobs or wishes came from another host.

        A hint that may be lost, or never come (SQLite, a pooler): look now and then all the same.
        """
        if self.engine_name == "postgresql" and self._listener is None:
            self._listener = Listener(self._light, heard)

    @property
    def hears(self) -> bool:
        """Whether `listen` would be told now."""
        return self._listener is not None and self._listener.hears

    # batches

    def begin(
        self,
        name: str,
        *,
        dialect: str,
        base_url: str,
        options: Mapping[str, str],
        weight: int,
        tag: str,
        made_ms: int,
    ) -> Batch:
        """Make a batch or return the one of that name; `UsageError` for another dialect or URL."""
        return self._write(
            lambda connection: batches.begin(
                connection,
                name,
                dialect=dialect,
                base_url=base_url,
                options=options,
                weight=weight,
                tag=tag,
                made_ms=made_ms,
            )
        )

    def batch(self, name: str) -> Batch | None:
        """Return the batch of that name."""
        return self._read(lambda connection: batches.named(connection, name))

    def batches(self) -> list[Batch]:
        """Return all batches, the oldest first."""
        return self._read(batches.every)

    def set_batch(
        self,
        batch_id: int,
        *,
        weight: int | None = None,
        stopped: str | None = None,
        look_first: bool | None = None,
        queued_whole: bool | None = None,
    ) -> None:
        """Change what is given of a batch."""
        given = {
            "weight": weight,
            "stopped": stopped,
            "look_first": look_first,
            "queued_whole": queued_whole,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        self._write(lambda connection: batches.change(connection, batch_id, changes))

    def hear_lateness(self, batch_id: int, late_ms: int) -> None:
        """Keep how late a look found a run, where it is the greatest lateness so far."""
        self._write(lambda connection: batches.hear_lateness(connection, batch_id, late_ms))

    def lateness_ms(self, batch_id: int) -> int:
        """Return the greatest lateness that any worker of the batch has seen."""
        return self._read(lambda connection: batches.lateness_ms(connection, batch_id))

    def set_proofs(self, base_url: str, proofs: Proofs) -> None:
        """Remember what a probe found for a base URL."""
        wall_ms = self._clock.wall_ms()
        self._write(lambda connection: batches.set_proofs(connection, base_url, proofs, wall_ms))

    # queueing

    def queueing(
        self,
        batch: Batch,
        path: str,
        *,
        replace: bool,
        elsewhere: Callable[[str], bool] | None = None,
    ) -> Queueing:
        """Begin a pass over a manifest; `replace`: changed lines become next generations.

        `elsewhere`: whether a job of that name ended well elsewhere, and is not to be queued.
        """
        return Queueing(self._write, batch, path, replacing=replace, elsewhere=elsewhere)

    # work

    def enlist(self, *, batches: str, version: str, lease_ms: int = 30_000) -> Enlisted:
        """Become a new incarnation of a worker, with a lock that dies with this process.

        `lease_ms`: how long the others believe it alive after each of its heartbeats.
        """
        worker_id = secrets.token_hex(8)
        lock = locks.hold(locks.folder_of(self._engines.place) / worker_id)
        self._locks[worker_id] = lock
        me = leases.Myself(self._host, self._boot, os.getpid(), version)

        def verb(connection: Connection) -> int:
            now = self._now()
            leases.enlist(
                connection,
                worker_id,
                me,
                lock.path,
                batches=batches,
                lease_ms=lease_ms,
                now=now,
            )
            return now.clock_ms

        return Enlisted(worker_id, self._write(verb))

    def beat(self, worker_id: str, running: int) -> bool:
        """Renew a lease; False: it lapsed for good, and a new incarnation is needed."""
        if self.engine_name == "postgresql":
            self._set_offset()
        return self._write(
            lambda connection: leases.beat(connection, worker_id, running, self.now_ms())
        )

    def fellows(
        self, me: str, running: int, accounts: frozenset[str], *, wanting: bool
    ) -> list[int]:
        """Tell the places in flight that a worker takes; return those of each other at its accounts."""
        return self._write(
            lambda connection: leases.fellows(
                connection,
                me,
                running,
                accounts,
                wanting=wanting,
                now_ms=self.now_ms(),
            )
        )

    def retire(self, worker_id: str) -> None:
        """Give back all that a worker holds and forget it: its caller has hung up everything."""

        def verb(connection: Connection) -> bool:
            now = self._now()
            freed = leases.free(
                connection,
                worker_id,
                "hung_up",
                presumed=False,
                now_ms=now.clock_ms,
                wall_ms=now.wall_ms,
            )
            if freed is None:
                leases.leave(connection, worker_id)
            return freed is None

        while not self._write(verb):
            pass
        lock = self._locks.pop(worker_id, None)
        if lock is not None:
            lock.free()

    def take_over(self, me: str) -> TakenOver:
        """Take over from workers that are dead: proven by a free lock, or silent for their lease.

        Cheap when nobody is. A worker that is silent and still holds its lock here is stopped: it
        is told once, when its jobs are taken.
        """
        return self._take_over.run(me)

    def living(self) -> list[Other]:
        """Return the workers that may be at work now: whoever is not known to be dead."""
        others = self._read(lambda connection: leases.others(connection, ""))
        return [other for other in others if self._take_over.may_live(other)]

    def claim(self, me: str, wants: Sequence[Want]) -> list[Job]:
        """Take claimable jobs for a worker whose lease is good; `LeaseLost` where it is not."""
        return self._write(
            lambda connection: claim.claim(connection, me, wants, self.now_ms()),
            after=Point.CLAIM_AFTER_COMMIT,
            pipelined=True,
        )

    def claim_adrift(self, me: str, batch_ids: Sequence[int], limit: int) -> list[Job]:
        """Take submitting and running jobs that nobody holds; `LeaseLost` as in `claim`."""
        return self._write(
            lambda connection: claim.claim_adrift(connection, me, batch_ids, limit),
            after=Point.CLAIM_AFTER_COMMIT,
        )

    def held_by(self, me: str) -> list[tuple[int, int]]:
        """Return the ids and tokens of the jobs that a worker holds, in the order of ids."""
        return self._write(lambda connection: claim.held_by(connection, me))

    def next_due_ms(self, batch_ids: Sequence[int]) -> int | None:
        """Return when the first delayed job of these batches may go, on `now_ms`'s clock."""
        return self._read(lambda connection: claim.next_due_ms(connection, batch_ids))

    def left(self, batch_ids: Sequence[int], me: str = "") -> Left:
        """Count the jobs of these batches that are not at rest, and those that others hold."""
        return self._read(lambda connection: claim.left(connection, batch_ids, me))

    def writing_s(self) -> float:
        """Return seconds of a core spent on writing to a file that takes one writer; else 0."""
        return self._writer.cpu_s() if self.engine_name == "sqlite" else 0.0

    # how verbs run

    def _write(
        self,
        verb: Callable[[Connection], T],
        *,
        before: Point | None = None,
        after: Point | None = None,
        keep: Callable[[T], bool] = lambda _result: True,
        pipelined: bool = False,
    ) -> T:
        """Run a verb in the writer thread as one transaction, durable when this returns.

        It may run again after a collision or a lost connection: it changes the database alone.
        `pipelined` as in `Writer.transact`.
        """
        return self._writer.call(
            lambda: self._writer.transact(
                verb, before=before, after=after, keep=keep, pipelined=pipelined
            )
        )

    def _read(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb in the caller's thread, on a connection that reads: one short snapshot.

        A database in memory has one connection: there it runs in the writer thread.
        """
        if self._engines.place.in_memory:
            return self._write(verb)
        if self.engine_name == "postgresql":
            return self._light.read(verb)
        patience = Patience(self._engines.place, self._rng, Event().wait, self._trouble)
        while True:
            try:
                with self._engines.reading() as connection, connection.begin():
                    return verb(connection)
            except DBAPIError as error:
                patience.wait(error)

    def _lightly(self, verb: Callable[[Connection], T], *, whole: bool = False) -> T:
        """Run a verb in the caller's thread whose writes need not survive a power cut."""
        if self._engines.place.in_memory:
            return self._write(verb)
        return self._light.run(verb, whole=whole)

    def _set_offset(self) -> None:
        # By a read, which a standby answers too.
        self._offset_ms = self._read(
            lambda connection: opening.server_offset_ms(connection, self._clock.boot_ms)
        )

    # reads and commands: see commands.py

    def vacuum(self) -> tuple[int, int]:
        """Give room back to the disk; return the database's bytes before and after.

        SQLite: others wait meanwhile, and as much room again is needed. `UsageError` where the
        server says that it left something out.
        """
        before = self._read(space.size)
        if not self._engines.place.in_memory:
            warnings = self._light.outside(space.vacuuming(self._engines.place))
            if warnings:
                raise UsageError(
                    "no permission to vacuum all tables",
                    where=self.label,
                    remedy="do it as their owner",
                )
        return before, self._read(space.size)
