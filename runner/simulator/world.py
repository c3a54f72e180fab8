"""What is simulated: threads, messages and runs, moved on by the clock that the caller reads.

Nothing runs in the background. `World.advance(now)` brings every run to where it stands at `now`,
in the order in which things would have happened, so that counts such as "most active at once" are
exact however rarely anybody asks. All times are unix seconds with a fraction.
"""

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from random import Random

import msgspec

from runner.simulator.bodies import ToolOutput
from runner.simulator.fates import STATUS_OF, Fate
from runner.simulator.journal import NULL, Journal, Line, MessageRecord, RunRecord, ThreadRecord
from runner.simulator.settings import Settings
from runner.simulator.spread import spread

NEVER = 4_102_444_800.0  # the year 2100: JSON has no infinity
QUEUED_SHARE = 0.1  # of a run's life that it waits for its turn
RESUMED_SHARE = 0.3  # of a run's life that follows on a round of tool outputs


class Thread:
    """A thread with all that is on it; `active` are its runs that are not at rest."""

    __slots__ = ("active", "active_max", "messages", "record", "runs")

    def __init__(self, record: ThreadRecord) -> None:
        self.record = record
        self.runs: dict[str, RunRecord] = {}  # in the order of their creation
        self.active: list[RunRecord] = []
        self.messages: list[MessageRecord] = []
        self.active_max = 0


class World:
    """Every thread and run of one server."""

    def __init__(self, settings: Settings, rng: Random, journal: Journal | None) -> None:
        self.rng = rng
        self.threads: dict[str, Thread] = {}
        self.runs: dict[str, RunRecord] = {}
        self.deleted: set[str] = set()
        self.active = 0
        self.active_max = 0
        self.at_rest: Counter[str] = Counter()  # statuses, runs dropped since included
        self.dropped = 0
        self._journal = journal
        self._due: list[tuple[float, int, RunRecord]] = []
        self._rested: deque[RunRecord] = deque()
        self._last = 0
        self.settings = settings
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Take new settings, for what begins from now on."""
        self.settings = settings
        self._life = spread(settings.duration)

    def new_id(self, kind: str) -> str:
        """Return an id such as `run_0000000012a3f0c2`; later ids sort after earlier ones."""
        self._last += 1
        return f"{kind}_{self._last:010d}{self.rng.getrandbits(24):06x}"

    # Threads and messages

    def make_thread(
        self,
        thread_id: str | None,
        now: float,
        *,
        metadata: msgspec.Raw = NULL,
        tool_resources: msgspec.Raw = NULL,
    ) -> Thread:
        """Make a thread, of a given id where the client has named one that is not there yet."""
        record = ThreadRecord(
            id=thread_id or self.new_id("thread"),
            created=now,
            metadata=metadata,
            tool_resources=tool_resources,
        )
        thread = self.threads[record.id] = Thread(record)
        self.keep(thread=record)
        return thread

    def delete_thread(self, thread: Thread) -> None:
        """Delete a thread with its runs; its id is never made again by itself."""
        thread.record.deleted = True
        self.keep(thread=thread.record)
        self._unmake(thread)

    def _unmake(self, thread: Thread) -> None:
        for run in thread.runs.values():
            del self.runs[run.id]
            if not run.rested:
                # The heap lets go of it when its time comes.
                self.active -= 1
                run.rested = NEVER
        del self.threads[thread.record.id]
        self.deleted.add(thread.record.id)

    def add_message(self, thread: Thread, message: MessageRecord) -> None:
        """Put a message on its thread."""
        thread.messages.append(message)
        self.keep(message=message)

    # Runs

    def make_run(self, thread: Thread, run: RunRecord, fate: Fate) -> None:
        """Add a run that begins now; draws how long it lives unless its fate says so."""
        life = self._life.draw(self.rng) if fate.life_s is None else fate.life_s
        run.starts = run.created + life * QUEUED_SHARE
        run.ends = NEVER if fate.end == "stuck" else run.created + life
        expires_after = self.settings.expires_after
        run.expires = run.created + expires_after if expires_after else NEVER
        run.end, run.rounds, run.calls = fate.end, fate.rounds, fate.calls
        self.keep(run=run)
        self._enter(thread, run)

    def cancel(self, run: RunRecord, now: float) -> None:
        """Begin to cancel an active run; one that ends before it takes effect ends as it would."""
        if run.status == "requires_action":
            run.ends = NEVER
        run.status = "cancelling"
        run.cancel_at = now + self.settings.cancel_lag
        self.keep(run=run)
        self._plan(run)

    def put_off(self, run: RunRecord, delay_s: float) -> None:
        """Let a run that was just made begin, and so end, later."""
        run.starts += delay_s
        run.ends += delay_s
        self.keep(run=run)
        self._plan(run)

    def stop(self, run: RunRecord, now: float, status: str = "cancelled") -> None:
        """Bring an active run to rest at once."""
        run.status, run.rested = status, now
        self.keep(run=run)
        self._rest(run)

    def delete_run(self, run: RunRecord) -> None:
        """Delete a run; one that is active ends with it."""
        thread = self.threads[run.thread_id]
        if run in thread.active:
            thread.active.remove(run)
            self.active -= 1
            run.rested = NEVER
        del self.runs[run.id]
        del thread.runs[run.id]
        run.deleted = True
        self.keep(run=run)

    def submit(self, run: RunRecord, outputs: Sequence[ToolOutput], now: float) -> None:
        """Take the outputs of the round that a run waits for."""
        run.taken = [*run.taken, [(output.tool_call_id, output.output) for output in outputs]]
        run.status = "queued"
        run.starts = now
        run.ends = now + self._life.draw(self.rng) * RESUMED_SHARE
        self.keep(run=run)
        self._plan(run)

    def keep(
        self,
        *,
        thread: ThreadRecord | None = None,
        run: RunRecord | None = None,
        message: MessageRecord | None = None,
    ) -> None:
        """Write a new or changed record to the journal, if there is one."""
        if self._journal is not None:
            self._journal.write(Line(thread=thread, run=run, message=message))

    def advance(self, now: float) -> None:
        """Bring every run to where it stands at `now`."""
        due = self._due
        while due and due[0][0] <= now:
            at, _, run = heapq.heappop(due)
            if run.rested or at != run.due:
                continue
            self._step(run, at)
            if run.rested:
                self._rest(run)
            else:
                self._plan(run)

    def _enter(self, thread: Thread, run: RunRecord) -> None:
        self.runs[run.id] = run
        thread.runs[run.id] = run
        if run.rested:
            self.at_rest[run.status] += 1
            self._rested.append(run)
            return
        thread.active.append(run)
        thread.active_max = max(thread.active_max, len(thread.active))
        self.active += 1
        self.active_max = max(self.active_max, self.active)
        self._plan(run)

    def _plan(self, run: RunRecord) -> None:
        match run.status:
            case "queued":
                at = run.starts
            case "in_progress":
                at = run.ends
            case "cancelling":
                at = run.cancel_at if run.rounds else min(run.ends, run.cancel_at)
            case _:
                at = NEVER
        run.due = min(at, run.expires)
        self._last += 1
        heapq.heappush(self._due, (run.due, self._last, run))

    def _step(self, run: RunRecord, at: float) -> None:
        cancelled = run.status == "cancelling" and at >= run.cancel_at
        if cancelled or at >= run.expires:
            run.status = "cancelled" if cancelled else "expired"
            run.rested = at
        elif run.status == "queued":
            run.status = "in_progress"
            run.started = run.started or at
        elif run.rounds and run.status == "in_progress":
            run.status = "requires_action"
            run.rounds -= 1
            run.turn += 1
        else:
            run.status = STATUS_OF.get(run.end, run.end)
            run.rested = at

    def _rest(self, run: RunRecord) -> None:
        self.active -= 1
        self.at_rest[run.status] += 1
        self.threads[run.thread_id].active.remove(run)
        self._rested.append(run)

    def drop_oldest(self) -> list[RunRecord]:
        """Forget those that came to rest first, beyond the number at rest to keep; return them."""
        gone: list[RunRecord] = []
        while len(self._rested) > self.settings.keep:
            run = self._rested.popleft()
            if run.id not in self.runs:  # deleted with its thread
                continue
            gone.append(run)
            self.dropped += 1
            del self.runs[run.id]
            thread = self.threads[run.thread_id]
            del thread.runs[run.id]
            if not thread.runs and not self.settings.strict_threads:
                del self.threads[run.thread_id]
        return gone

    # Memory that outlives a kill

    def restore(self, now: float) -> list[RunRecord]:
        """Read the journal, rewrite it short, and return the runs in order of creation."""
        if self._journal is None:
            return []
        memory = self._journal.read()
        for record in memory.threads.values():
            if record.deleted:
                self.deleted.add(record.id)
            else:
                self.threads[record.id] = Thread(record)
        for message in memory.messages.values():
            if message.thread_id in self.threads:
                self.threads[message.thread_id].messages.append(message)
        for run in memory.runs.values():
            if run.thread_id in self.threads and not run.deleted:
                self._enter(self.threads[run.thread_id], run)
        for kind in (memory.threads, memory.messages, memory.runs):
            for name in kind:
                number = name.partition("_")[2][:10]
                self._last = max(self._last, int(number) if number.isdecimal() else 0)
        self.advance(now)
        self.drop_oldest()
        # Who was active beside whom before the restart is not known any more.
        self.active_max = self.active
        for thread in self.threads.values():
            thread.active_max = len(thread.active)
        self._rewrite(memory.threads)
        return list(self.runs.values())

    def _rewrite(self, threads: dict[str, ThreadRecord]) -> None:
        if self._journal is None:
            return
        deleted = [Line(thread=threads[name]) for name in self.deleted if name in threads]
        living = [Line(thread=thread.record) for thread in self.threads.values()]
        messages = [
            Line(message=message) for thread in self.threads.values() for message in thread.messages
        ]
        runs = [Line(run=run) for run in self.runs.values()]
        self._journal.rewrite([*deleted, *living, *messages, *runs])
