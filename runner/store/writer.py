"""The one thread that writes: moves in groups, verbs one by one, a transaction each.

Groups are natural: what arrived while the last commit ran (performance.md section C). One call
back tells a whole group, so that an event loop wakes once for it.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from random import Random
from typing import Generic, TypeVar

from msgspec import Struct
from sqlalchemy import Connection, Transaction, text
from sqlalchemy.exc import DBAPIError

from runner.core.moves import ORDER, Move, Note
from runner.core.points import Point, Reach
from runner.store.engine import EPOCH, Engines, is_lost, is_unprepared, sqlstate
from runner.store.patience import STALLED_S, Patience, Trouble
from runner.store.pipeline import begin, begin_in_pipeline, begun, plan_anew
from runner.store.record import Now, write_group
from runner.store.silent import bounds, end_silent, waited_in_vain

T = TypeVar("T")
Done = Callable[[bool], None]
Notify = Callable[[list[tuple[Done, bool]]], None]

PLANNED_S = 15.0
"""So long PostgreSQL keeps the plan of a statement: one made for few rows may scan millions."""
GROUP = 2000
WAITING = 50_000
_RANK: dict[type, int] = {kind: rank for rank, kind in enumerate(ORDER)}

_MY_TRANSACTION = "SELECT CAST(pg_current_xact_id() AS text)"
_ITS_END = text("SELECT pg_xact_status(CAST(CAST(:number AS text) AS xid8))")


class _Asked(Struct, frozen=True):
    run: Callable[[], None]


class _Stop(Struct, frozen=True):
    pass


_Entry = Sequence[tuple[Move, Done]] | _Asked | _Stop


class _Answer(Struct, Generic[T]):
    """Where a verb's result waits for the thread that called."""

    ready: threading.Event
    value: T | None = None
    error: BaseException | None = None


def _size(entry: _Entry) -> int:
    return 1 if isinstance(entry, _Asked | _Stop) else len(entry)


def call_each(ends: list[tuple[Done, bool]]) -> None:
    """Call back each waiting caller from the writer's own thread."""
    for done, won in ends:
        done(won)


class Writer:
    """Owns the writing connection; all its methods but `transact` may be called from any thread."""

    def __init__(
        self,
        engines: Engines,
        now: Callable[[], Now],
        reach: Reach,
        trouble: Trouble,
    ) -> None:
        self._engines = engines
        self._now = now
        self._reach = reach
        self._trouble = trouble
        self._rng = Random()
        self._connection: Connection | None = None
        self._planned_s = time.monotonic()
        self._entries: SimpleQueue[_Entry] = SimpleQueue()
        self._notify: Notify = call_each
        self._broken: BaseException | None = None
        self._stopped = False
        self._never = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runner-store", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """What broke the store, as one line; "" while all is well."""
        return "" if self._broken is None else str(self._broken) or repr(self._broken)

    @property
    def broken(self) -> BaseException | None:
        """What broke the store: a `RunnerError`, or a bug."""
        return self._broken

    def cpu_s(self) -> float:
        """Return seconds of a core that the writer's thread has used; 0 where none tells."""
        clock = getattr(time, "pthread_getcpuclockid", None)
        if clock is None or self._thread.ident is None or not self._thread.is_alive():
            return 0.0
        return time.clock_gettime(clock(self._thread.ident))

    def on_committed(self, notify: Notify) -> None:
        """Hand each group's ends to `notify`, in one call from this thread."""
        self._notify = notify

    def put(self, moves: Sequence[tuple[Move, Done]]) -> None:
        """Queue moves, to be written together; blocks only while 50,000 such calls wait."""
        while self._entries.qsize() > WAITING and not self._here():
            self._never.wait(0.005)
        self._entries.put(moves)

    def ask(self, verb: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Run a verb after all moves queued so far, and call back with what came of it."""

        def run() -> None:
            end: T | BaseException
            try:
                end = self._guarded(verb)
            except BaseException as error:  # noqa: BLE001 - handed to the asker, whole
                end = error
            self._notify([(lambda _won: done(end), True)])

        self._entries.put(_Asked(run))

    def call(self, verb: Callable[[], T]) -> T:
        """Run a verb in the writer's thread and return what it returns; raise what it raises."""
        if self._here():
            return verb()
        if self._stopped:
            raise RuntimeError("the store is closed")
        answer = _Answer[T](threading.Event())

        def run() -> None:
            try:
                answer.value = self._guarded(verb)
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                answer.error = error
            answer.ready.set()

        self._entries.put(_Asked(run))
        answer.ready.wait()
        if answer.error is not None:
            raise answer.error
        return answer.value  # type: ignore[return-value]  # set wherever there is no error

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        if self._stopped:
            return
        self._stopped = True
        self._entries.put(_Stop())
        self._thread.join()

    def _here(self) -> bool:
        return threading.current_thread() is self._thread

    def _guarded(self, verb: Callable[[], T]) -> T:
        if self._broken is not None:
            raise self._broken
        return verb()

    def _run(self) -> None:
        while True:
            entries = [self._entries.get()]
            size = _size(entries[0])
            try:
                while size < GROUP:
                    entries.append(self._entries.get_nowait())
                    size += _size(entries[-1])
            except Empty:
                pass
            if self._serve(entries):
                break
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _serve(self, entries: Sequence[_Entry]) -> bool:
        """Commit a drained stretch of the queue; return whether it held the end."""
        group: list[tuple[Move, Done]] = []
        ranks: dict[int, int] = {}
        stop = False
        for entry in entries:
            match entry:
                case _Asked(run):
                    self._commit(group)
                    group, ranks = [], {}
                    run()
                case _Stop():
                    stop = True
                case moves:
                    for move, done in moves:
                        if not isinstance(move, Note):
                            # A job's moves are written in the order of its life, whatever the order
                            # of the group: an earlier kind must wait for the next group.
                            job, rank = move.held.job_id, _RANK[type(move)]
                            if rank <= ranks.get(job, -1):
                                self._commit(group)
                                group, ranks = [], {}
                            ranks[job] = rank
                        group.append((move, done))
        self._commit(group)
        return stop

    def _commit(self, group: list[tuple[Move, Done]]) -> None:
        if not group:
            return
        moves = [move for move, _ in group]
        won = [False] * len(moves)
        if self._broken is None:
            try:
                won = self._write_group(moves)
            except Exception as error:  # noqa: BLE001 - kept in `broken`, and raised by each verb
                self._broken = error
        self._notify([(done, one) for (_, done), one in zip(group, won, strict=True)])

    def _write_group(self, moves: list[Move]) -> list[bool]:
        def at_once(connection: Connection) -> list[bool] | None:
            return write_group(connection, moves, self._now(), careful=False)

        def one_by_one(connection: Connection) -> list[bool]:
            ends = write_group(connection, moves, self._now(), careful=True)
            return [False] * len(moves) if ends is None else ends

        ends = self.transact(
            at_once,
            before=Point.WRITE_BEFORE_COMMIT,
            after=Point.WRITE_AFTER_COMMIT,
            keep=lambda ends: ends is not None,
            pipelined=True,
        )
        if ends is not None:
            return ends
        return self.transact(
            one_by_one, before=Point.WRITE_BEFORE_COMMIT, after=Point.WRITE_AFTER_COMMIT
        )

    def transact(
        self,
        verb: Callable[[Connection], T],
        *,
        before: Point | None = None,
        after: Point | None = None,
        keep: Callable[[T], bool] = lambda _result: True,
        pipelined: bool = False,
    ) -> T:
        """Run a verb as one transaction, in the writer's thread; durable when this returns.

        Waits while another program holds the lock or the server is away, and runs the verb anew:
        it must change nothing but the database, and bear being run again after it was committed,
        which nobody can say after a crash of the server. `keep` False: rolled back. `pipelined`:
        all that the verb does first is a pipeline.
        """
        patience = Patience(self._engines.place, self._rng, self._never.wait, self._trouble)
        while True:
            asked = time.monotonic()
            try:
                result = self._once(verb, before, keep, pipelined=pipelined)
            except DBAPIError as error:
                if waited_in_vain(error) and self._connection is not None:
                    end_silent(self._connection)
                patience.wait(error)
                continue
            self._trouble.has_written = True
            if time.monotonic() - asked > STALLED_S:
                self._trouble.note()
            if after is not None:
                self._reach(after)
            return result

    def _once(
        self,
        verb: Callable[[Connection], T],
        before: Point | None,
        keep: Callable[[T], bool],
        *,
        pipelined: bool,
    ) -> T:
        connection = self._opened()
        postgresql = self._engines.place.engine_name == "postgresql"
        number, epoch = "", connection.info.get(EPOCH)
        transaction = connection.begin()
        try:
            if postgresql:
                self._keep_plans_young(connection)
                # One question, which also bounds how long all others wait for us.
                question = f"{_MY_TRANSACTION}, {bounds()}"
                if pipelined:
                    begin_in_pipeline(connection, question)
                else:
                    number = begin(connection, question)
            result = verb(connection)
            if postgresql and pipelined:
                number = begun(connection)
            if not keep(result):
                transaction.rollback()
                return result
            if before is not None:
                self._reach(before)
        except BaseException as error:
            self._undo(transaction, error)
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            self._undo(transaction, error)
            if is_lost(error) and self._was_committed(number, epoch, error):
                return result
            raise
        return result

    def _opened(self) -> Connection:
        if self._connection is None:
            connection = self._engines.writing()
            if self._engines.place.engine_name == "postgresql":
                # Transactions are begun by `pipeline.begin`.
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            self._connection = connection
        return self._connection

    def _keep_plans_young(self, connection: Connection) -> None:
        now_s = time.monotonic()
        if now_s - self._planned_s > PLANNED_S:
            self._planned_s = now_s
            plan_anew(connection)

    def _undo(self, transaction: Transaction, error: BaseException) -> None:
        """Roll back what can be, and let go of a connection that is lost."""
        if isinstance(error, DBAPIError) and is_lost(error):
            if is_unprepared(error):
                self._engines.prepare_nothing()
            self._forget()
            return
        # SQLite may have rolled back by itself (disk full): a second time does nothing there.
        with contextlib.suppress(DBAPIError):
            transaction.rollback()

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _was_committed(self, number: str, epoch: str | None, error: DBAPIError) -> bool:
        """Ask the server whether a transaction whose answer was lost is surely committed.

        A server that has crashed since, or taken over from another, may have given the number to
        another transaction (it is durable only with what its own wrote), or have lost it ("in the
        future", 22023). Such a verb runs again: what a group has written already refuses it then,
        and its jobs are let go, and looked at before anything is sent.
        """
        patience = Patience(self._engines.place, self._rng, self._never.wait, self._trouble)
        while True:
            try:
                connection = self._opened()
                if epoch is None or connection.info.get(EPOCH) != epoch:
                    return False
                with connection.begin():
                    end = connection.scalar(_ITS_END, {"number": number})
            except DBAPIError as again:
                if is_lost(again):
                    self._forget()
                if sqlstate(again.orig) == "22023":
                    return False
                patience.wait(again)
                continue
            if end == "in progress":
                # The server has not heard that its client is gone.
                end_silent(connection)
                patience.wait(error)
                continue
            return bool(end == "committed")
