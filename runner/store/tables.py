"""The tables, declared once; migrations/ holds how a database gets there.

Job rows are narrow (what a claim and a transition touch); bodies, run objects and evidence stand
in side tables as the bytes that came (performance.md C). Times: `*_ms` named clock_* are
milliseconds on the store's clock (`store.clock`), the others are wall-clock unix milliseconds for
people; 0 is never. States are small integers (`columns.STATES`).
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlmodel import Field, SQLModel


class Meta(SQLModel, table=True):
    """One fact about the database: boot id, schema's release, suspect mark."""

    name: str = Field(primary_key=True)
    value: str


class Batch(SQLModel, table=True):
    """A named set of jobs. `uid` is chance, part of each key; `origin` is the base URL's number."""

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    uid: str
    dialect: str
    base_url: str
    origin: int
    options: str = "{}"
    weight: int = 1
    tag: str = "runner_key"
    made_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    queued_whole: bool = False
    look_first: bool = False
    stopped: str = ""
    blocked_since_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    lateness_ms: int = 0


class Origin(SQLModel, table=True):
    """A base URL that threads live under: threads of two servers are different threads."""

    id: int | None = Field(default=None, primary_key=True)
    base_url: str = Field(unique=True)
    proofs: str = ""
    probed_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class Source(SQLModel, table=True):
    """A manifest that was queued into a batch: `identity` skips it while it is unchanged."""

    __table_args__ = (Index("source_batch", "batch_id", "path", unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    batch_id: int = Field(foreign_key="batch.id")
    path: str
    identity: str = ""
    lines: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    bad: int = 0
    conflicts: int = 0
    vanished: int = 0
    queued_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class Lane(SQLModel, table=True):
    """What shares a speed within a batch: an assistant and model; 64 a batch, then hashed."""

    __table_args__ = (Index("lane_batch", "batch_id", "number", unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    batch_id: int = Field(foreign_key="batch.id")
    number: int
    name: str


class Job(SQLModel, table=True):
    """The durable life of a manifest line.

    Claimable: state queued, not blocked, clock_not_before_ms 0, no worker. `token` +1 at each claim
    and taking-over. `refusals` are what --max-attempts counts. `doubted` stays for the generation.

    `idle_state` is the state of a job that nobody holds, and -1 while a worker does. The indexes are
    made by it and not by `state`, so that what a job goes through in a worker's hands changes none
    of them: half of all writes on PostgreSQL (HOT, postgresql.org/docs/current/storage-hot.html).
    """

    __table_args__ = (
        Index("job_name", "batch_id", "custom_id", unique=True),
        Index("job_line", "batch_id", "source_id", "line"),
        Index(
            "job_ready",
            "batch_id",
            "lane",
            "id",
            sqlite_where=text("idle_state = 0 AND blocked = 0 AND clock_not_before_ms = 0"),
            postgresql_where=text("idle_state = 0 AND blocked = 0 AND clock_not_before_ms = 0"),
        ),
        Index(
            "job_later",
            "batch_id",
            "clock_not_before_ms",
            sqlite_where=text("idle_state = 0 AND clock_not_before_ms > 0"),
            postgresql_where=text("idle_state = 0 AND clock_not_before_ms > 0"),
        ),
        Index(
            "job_next",
            "origin",
            "thread_id",
            "id",
            sqlite_where=text("blocked = 1"),
            postgresql_where=text("blocked = 1"),
        ),
        Index(
            "job_turn",
            "origin",
            "thread_id",
            sqlite_where=text("idle_state < 3 AND blocked = 0 AND own_thread = 0"),
            postgresql_where=text("idle_state < 3 AND blocked = 0 AND own_thread = 0"),
        ),
        Index(
            "job_worker",
            "worker",
            sqlite_where=text("worker IS NOT NULL"),
            postgresql_where=text("worker IS NOT NULL"),
        ),
        Index(
            "job_adrift",
            "batch_id",
            "id",
            sqlite_where=text("idle_state IN (1, 2)"),
            postgresql_where=text("idle_state IN (1, 2)"),
        ),
        Index(
            "job_ended",
            "batch_id",
            "ended_ms",
            "id",
            sqlite_where=text("idle_state >= 3"),
            postgresql_where=text("idle_state >= 3"),
        ),
        Index(
            "job_asked",
            "worker",
            "cancel_asked",
            sqlite_where=text("cancel_asked = 1 AND worker IS NOT NULL"),
            postgresql_where=text("cancel_asked = 1 AND worker IS NOT NULL"),
        ),
        Index(
            "job_doubt",
            "batch_id",
            sqlite_where=text("idle_state < 3 AND clock_closed_ms > 0"),
            postgresql_where=text("idle_state < 3 AND clock_closed_ms > 0"),
        ),
        Index(
            "job_foreign",
            "batch_id",
            sqlite_where=text("blocked_by IS NOT NULL"),
            postgresql_where=text("blocked_by IS NOT NULL"),
        ),
        Index(
            "job_resent",
            "batch_id",
            sqlite_where=text("possible_double > 0"),
            postgresql_where=text("possible_double > 0"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    batch_id: int = Field(foreign_key="batch.id")
    custom_id: str
    source_id: int
    line: int = Field(sa_column=Column(BigInteger, nullable=False))
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    origin: int
    thread_id: str | None = None
    own_thread: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    lane: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    state: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    idle_state: int | None = Field(
        default=None,
        sa_column=Column(SmallInteger, Computed("CASE WHEN worker IS NULL THEN state ELSE -1 END")),
    )
    status: str | None = None
    blocked: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    worker: str | None = None
    token: int = 0
    generation: int = 1
    attempt: int = 0
    refusals: int = 0
    doubted: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    presumed: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    slow_close: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    cancel_asked: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    clock_not_before_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    clock_closed_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    intent_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    first_intent_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    queued_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    created_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    ended_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    run_id: str | None = None
    sender: str | None = None
    blocked_by: str | None = None
    possible_double: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))


class Body(SQLModel, table=True):
    """What a job asks for: the create's body as the user wrote it, and what stands beside it."""

    job_id: int = Field(primary_key=True)
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    extra: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Outcome(SQLModel, table=True):
    """How a generation ended; the newest is the row's, the others are its earlier runs."""

    job_id: int = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    status: str
    run_id: str | None = None
    run: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    error: str | None = Field(default=None, sa_column=Column(Text))
    http_status: int = 0
    request_id: str = ""
    prompt_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    completion_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    total_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    cached_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    reasoning_tokens: int | None = Field(default=None, sa_column=Column(BigInteger))
    messages: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    steps: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    deltas: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    output_text: str | None = Field(default=None, sa_column=Column(Text))
    attempts: int = 0
    created_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    ended_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class Attempt(SQLModel, table=True):
    """Insert-only evidence: what one try to create a generation's run came to."""

    __table_args__ = (
        Index("attempt_job", "job_id"),
        Index(
            "attempt_told",
            "job_id",
            sqlite_where=text("why IN ('double', 'noted')"),
            postgresql_where=text("why IN ('double', 'noted')"),
        ),
    )

    id: int | None = Field(
        default=None,
        sa_column=Column(
            BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
        ),
    )
    job_id: int
    generation: int
    attempt: int
    sender: str
    intent_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    closed_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    why: str
    http_status: int = 0
    request_id: str = ""
    run_id: str = ""
    error: str = ""
    detail: str = ""
    lateness_ms: int = 0


class Output(SQLModel, table=True):
    """The tool outputs of a round, durable before they are sent."""

    job_id: int = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    call_id: str = Field(primary_key=True)
    output: str = Field(sa_column=Column(Text, nullable=False))


class Tally(SQLModel, table=True):
    """Counts kept, not counted: changed in the transactions that move jobs."""

    batch_id: int = Field(primary_key=True)
    state: int = Field(primary_key=True)
    status: str = Field(primary_key=True)
    jobs: int = Field(sa_column=Column(BigInteger, nullable=False))


class Cause(SQLModel, table=True):
    """Failed jobs by what failed them, kept like the tally; `message` is the first one's text."""

    batch_id: int = Field(primary_key=True)
    status: str = Field(primary_key=True)
    code: str = Field(primary_key=True)
    message: str = Field(sa_column=Column(Text, nullable=False))
    jobs: int = Field(sa_column=Column(BigInteger, nullable=False))


class Spent(SQLModel, table=True):
    """A batch's tokens, kept like the tally: of each job's newest outcome, and `earlier` in all.

    `first_ms` is the batch's first intent (0: no job has ended yet), `last_ms` the last end.
    """

    batch_id: int = Field(primary_key=True)
    prompt: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    completion: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    total: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    cached: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    reasoning: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    earlier: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    first_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    last_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class Worker(SQLModel, table=True):
    """One incarnation of a worker: new at each start and after each lapse.

    `taken` is set, for good, in the transaction in which another takes over its jobs; a heartbeat
    that finds it set has lapsed.
    """

    id: str = Field(primary_key=True)
    host: str
    boot: str
    pid: int
    version: str
    lock: str
    started_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    clock_beat_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    lease_ms: int = Field(
        default=30_000, sa_column=Column(BigInteger, nullable=False, server_default="30000")
    )
    taken: int = 0
    running: int = 0
    wanting: int = 0
    accounts: str = ""
    batches: str = ""


class Budget(SQLModel, table=True):
    """A rate limit that all who work on the database share (budgets.md 1.3); database seconds."""

    __table_args__ = (Index("budget_account", "account", "kind", unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    account: str
    kind: str
    step: float
    tat: float
    closed_until: float = 0.0
    closed_for: float = 0.0
    closed_why: str = ""
    leased_at: float = 0.0
    seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    lim: float | None = None
    win: float | None = None
    source: str = ""
    others: float = 0.0
    spread: float = 0.0
    opened_at: float = 0.0
    opened_seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    cut_at: float = 0.0
    memory: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    version: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


METADATA = SQLModel.metadata


def _table(name: str) -> Table:
    return METADATA.tables[name]


META, BATCH, ORIGIN, SOURCE, LANE = map(_table, ("meta", "batch", "origin", "source", "lane"))
JOB, BODY, OUTCOME, ATTEMPT = map(_table, ("job", "body", "outcome", "attempt"))
OUTPUT, TALLY, WORKER, BUDGET = map(_table, ("output", "tally", "worker", "budget"))
CAUSE, SPENT = map(_table, ("cause", "spent"))
