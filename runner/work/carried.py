"""What a worker holds of a batch and of a job while it carries them."""

from collections import deque
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from msgspec import Struct, field
from msgspec.structs import replace

from runner.core.batch import Batch
from runner.core.breaker import Breaker
from runner.core.budget import Source, own_use
from runner.core.lateness import raised_wait_s
from runner.core.model import ApiError, Job, JobState, Proofs, Run
from runner.core.moves import Held
from runner.core.refusals import LOOKED_AT, Met, kind_of_429
from runner.dialects.dialect import Dialect, Tag
from runner.http.sender import Sender
from runner.work.gate import Gate, Slot
from runner.work.pace import Pace
from runner.work.token_gate import TokenGate


class Assignment(Struct):
    """A batch as this process works it.

    `account` is whose limits it uses, `proofs` are what holds here: the dialect's or a probe's.

    `resend`: whether a doubt that nothing can settle is sent again. `listed`: a list has been
    answered here, so that a 404 on a list means "no such thread" and not "no such call".
    `tag_seen`: the tag has come back.
    `skew_s`: the server's clock minus ours. `wait_s`: the doubt wait in force; `lateness_s`: the
    greatest lateness seen by any worker of the batch.
    """

    batch: Batch
    account: str
    dialect: Dialect
    sender: Sender
    tag: Tag
    proofs: Proofs
    resend: bool
    breaker: Breaker
    creates: Gate
    reads: Gate
    tokens: TokenGate
    wait_s: float
    pace: dict[int, Pace] = field(default_factory=dict)
    listed: bool = False
    skew_s: float = 0.0
    lateness_s: float = 0.0
    halted: str = ""
    clock_heard_s: float = -1e9
    tag_seen: bool = False
    met: deque[Met] = field(default_factory=lambda: deque(maxlen=LOOKED_AT))

    def is_halted(self) -> bool:
        """Whether the batch's breaker has opened."""
        return bool(self.halted)

    def hear_clock(self, headers: Mapping[str, str], now_s: float) -> None:
        """Learn the server's clock from an answer's Date header, once a minute."""
        if now_s - self.clock_heard_s < 60 or "date" not in headers:
            return
        self.clock_heard_s = now_s
        try:
            self.skew_s = parsedate_to_datetime(headers["date"]).timestamp() - now_s
        except (TypeError, ValueError):
            return

    def meet(self, slot: Slot, in_flight: int, *, admitted: bool) -> bool:
        """Note what a create met; return whether such refusals are about runs at once, not a rate.

        Only where nothing says what a refusal is about: no flag, no header.
        """
        row = self.creates.row
        if row.source in (Source.FLAG, Source.HEADER):
            return False
        self.met.append(Met(admitted, in_flight, own_use(row, slot.db_s, slot.seq)))
        return not admitted and kind_of_429(tuple(self.met)) == "concurrency"

    def hear_tag(self, run: Run) -> bool:
        """Learn from a create's own answer whether the tag comes back; True where it was just lost.

        A look would never find a run by it. A probe's word, and a tag once seen, stand.
        """
        if run.tag:
            self.tag_seen = True
        relied = self.proofs.tags and bool(self.tag.name) and self.batch.proofs is None
        if not relied or self.tag_seen or not run.lost_its_tag:
            return False
        self.proofs = replace(self.proofs, tags=False)
        return True

    def hear_lateness(self, late_s: float) -> bool:
        """Note how late a look first found a run; return whether the doubt wait was raised for it."""
        self.lateness_s = max(self.lateness_s, late_s)
        before, self.wait_s = self.wait_s, raised_wait_s(self.wait_s, late_s)
        return self.wait_s > before


class Carried(Struct):
    """A leased job under way: the row as claimed, and what has changed since.

    Steady times are seconds on the event loop's clock, `closed_ms` is on the store's. `number` is
    that of the last create that this process sent for it, in the order of the batch. `due_s` and
    `alive_s` are ages of its run: when it is to be looked at next, when it was seen alive last.
    """

    job: Job
    assignment: Assignment
    state: JobState
    attempt: int
    refusals: int
    doubted: bool
    closed_ms: int
    presumed: bool
    slow: bool
    run_id: str
    cancel_asked: bool
    in_flight: bool = False
    blocked_by: str = ""
    busy: bool = False
    tokens: float = 0.0
    tokens_at_s: float = 0.0
    checked: bool = False
    born_s: float = 0.0
    due_s: float = 0.0
    alive_s: float = 0.0
    polls: int = 0
    missing: int = 0
    trouble: int = 0
    abreast: int = 0
    number: int = 0
    unreadable: int = 0
    missed: bool = False
    rounds: int = 0
    lost: bool = False
    over: bool = False
    cancel_sent: bool = False
    wait_noted: bool = False
    possible_double: bool = False
    thread_made_s: float = -1e9
    unanswered: ApiError | None = None
    deltas: list[str] = field(default_factory=list)

    def held(self) -> Held:
        """Return what the next write compares."""
        job = self.job
        return Held(job.id, job.batch_id, job.generation, self.attempt, self.state, job.token)


def carry(job: Job, assignment: Assignment) -> Carried:
    """Return a claimed job as carried."""
    return Carried(
        job,
        assignment,
        job.state,
        job.attempt,
        job.refusals,
        job.doubted,
        job.closed_ms,
        job.presumed,
        job.slow_close,
        job.run_id or "",
        job.cancel_asked,
    )
