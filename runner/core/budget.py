"""A budget's row as a value, and what happens to it.

The columns that the lease statement reads (`tat`, `seq`, `leased_at`) are the database's alone; the
rest is here. `Memory` goes into one JSON column. Times are seconds on the database's clock.
"""

from enum import StrEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from runner.core.limits import Limits, Seen
from runner.core.marks import Marks, noted, own, refused
from runner.core.pacing import initial_spread, spacing
from runner.core.waits import closure_of, gate_until

FREE = 1e-4
"""Step while no limit is known: only the runs in flight pace, but permits are still counted."""

FIRST = 0.02
"""Step until the first answer tells whether there are headers: ten calls are leased at most."""

USUAL_WINDOW = 10.0
"""Seconds to count over where no window is known."""

UNSEEN = -1
"""`opened_seq` until a permit is seen that was used after the gate opened."""

FEW = 2.0
"""Fewer calls of others than this are our own clock's blur."""


class Source(StrEnum):
    """Where a limit comes from; `status` tells it."""

    FLAG = "flag"
    HEADER = "header"
    CLOSURE = "closure"
    SEARCH = "search"


class Memory(Struct, frozen=True):
    """What learning must remember beside the columns.

    The call: `first_at` the first one's time, `marks` our own. Headers: `seen` of late and how many
    `calls` told them, `bucket` whether the server counts by a bucket, `strict` refusals since
    `strict_seq` of a server without any burst and the `extra` seconds a step for it, `floor` the
    least spread, `in_row` refusals in a row.

    A closure: it began with permit `closed_seq` at `closed_at` and is looked into every `probe`
    seconds (0: it is not), `probe_step` the step before it, `shown` whether a probe was refused,
    `kept` permits a second that were admitted for a while; `counted_to` the permit up to which the
    limit was counted (-1: it was not). The last refusal at `refused_at`, with `refused_seq` permits
    used; `missed` refused or given up since the gate opened; `beside`: that refusal was not about
    our rate; `longest` the longest of the short waits that were told of late, `early`
    refusals before enough was admitted to measure anything. Growing back:
    `grown_at`, `growth`, `need`, `best`. Runs that fail: `ceiling` the limit at which they did,
    `quiet_s` how long none must before it grows.
    """

    first_at: float | None = None
    marks: Marks = ()
    seen: tuple[Seen, ...] = ()
    calls: int = 0
    bucket: bool = False
    in_row: int = 0
    refused_at: float = 0.0
    refused_seq: int = 0
    missed: int = 0
    beside: bool = False
    longest: float = 0.0
    early: int = 0
    closed_at: float = 0.0
    closed_seq: int = 0
    probe: float = 0.0
    probe_step: float = FREE
    shown: bool = False
    kept: float = 0.0
    counted_to: int = -1
    grown_at: float = 0.0
    growth: float = 0.0
    need: int = 1
    best: float = 0.0
    strict: int = 0
    strict_seq: int = 0
    extra: float = 0.0
    ceiling: float = 0.0
    quiet_s: float = 0.0
    floor: float = 0.0


class Budget(Struct, frozen=True):
    """The learnt part of a budget's row; see `budgets` for the columns' meaning.

    `lim` permits in any `win` seconds, `others` how many of them others use, `spread` the jitter
    allowance, `step` seconds between slots, `opened_at` and `opened_seq` when the gate opened last
    and its first permit since, `cut_at` up to when a refusal belongs to a cut already made.
    """

    step: float = FIRST
    lim: float | None = None
    win: float | None = None
    source: Source | None = None
    others: float = 0.0
    spread: float = 0.05
    opened_at: float = 0.0
    opened_seq: int = 0
    cut_at: float = 0.0
    closed_until: float = 0.0
    closed_for: float = 0.0
    version: int = 0
    memory: Memory = Memory()


class Answered(Struct, frozen=True):
    """A call was admitted.

    `slot` and `seq` are its permit's, `at` is the middle of the call (slot plus half the time to
    the answer serves), `limits` what its headers say of this budget's dimension.
    """

    slot: float
    seq: int
    at: float
    limits: Limits | None = None


class Refused(Struct, frozen=True):
    """A call met a 429 at `at`, that asks for a `wait`; `chance` is a fresh number in [0, 1)."""

    slot: float
    seq: int
    at: float
    wait: float | None
    chance: float
    limits: Limits | None = None


class GivenUp(Struct, frozen=True):
    """A permit was not used (late, or the gate had closed): the server never saw a call for it."""

    slot: float
    seq: int


class RunFailed(Struct, frozen=True):
    """A run ended failed, rate_limit_exceeded.

    `slot` is its create's, `duration` the mean seconds of good runs (0: none yet), `wait` what the
    run's text asks for.
    """

    slot: float
    at: float
    duration: float
    wait: float | None = None


class Measured(Struct, frozen=True):
    """A process measured the network's spread (`pacing.spread_of`)."""

    spread: float


class Lifted(Struct, frozen=True):
    """The refusals were about runs at once: what they taught of a rate was wrong."""


Event = Answered | Refused | GivenUp | RunFailed | Measured | Lifted


def known(limit: float, window: float) -> Budget:
    """Return the row of a limit that the user gave."""
    spread = initial_spread(window)
    step = spacing(limit, window, spread)
    return Budget(step, limit, window, Source.FLAG, spread=spread)


def paced(row: Budget) -> Budget:
    """Return the row with its step made from its limit, window and others."""
    if row.lim is None or row.win is None:
        return row
    margin = 1 + 0.05 * row.others if row.others > FEW else 0.0
    left = max(min(1.0, row.lim), row.lim - row.others - margin)
    return replace(row, step=spacing(left, row.win, row.spread) + row.memory.extra)


def counted(row: Budget, slot: float, seq: int) -> Budget:
    """Return the row that knows of one more permit used."""
    memory = row.memory
    marks = noted(memory.marks, slot, seq, row.win)
    first = slot if memory.first_at is None else min(slot, memory.first_at)
    if row.opened_seq == UNSEEN and slot >= row.opened_at:
        row = replace(row, opened_seq=seq)
    if marks is memory.marks and first == memory.first_at:
        return row
    return replace(row, memory=replace(memory, marks=marks, first_at=first))


def uncounted(row: Budget, slot: float) -> Budget:
    """Return the row that knows of a permit that the server did not count: refused or given up."""
    memory = row.memory
    missed = memory.missed + (slot >= row.opened_at)
    return replace(row, memory=replace(memory, marks=refused(memory.marks, slot), missed=missed))


def opening(row: Budget) -> Budget:
    """Return the row that counts anew from when its gate opens."""
    memory = replace(row.memory, missed=0)
    return replace(row, opened_at=row.closed_until, opened_seq=UNSEEN, memory=memory)


def own_use(row: Budget, slot: float, seq: int) -> float:
    """Return how many of our calls stood in the window that ended with this permit."""
    return own(row.memory.marks, slot, seq + 1, row.win or USUAL_WINDOW)


def closed(row: Budget, at: float, wait: float, chance: float) -> Budget:
    """Return the row with its gate closed for `wait` seconds from `at`, or longer if it was.

    `closed_for` is the whole distance and not the last wait: a short wait after a long one must not
    make the long gate look like a clock set back.
    """
    until = max(row.closed_until, gate_until(at, closure_of(wait).seconds, row.step, chance))
    return replace(row, closed_until=until, closed_for=max(0.0, until - at), cut_at=until)


def memory_to_json(memory: Memory) -> str:
    """Return the memory as the JSON object of its column."""
    return msgspec.json.encode(memory).decode()


def memory_from_json(text: str) -> Memory:
    """Read the memory's column; one that cannot be read is a fresh memory: it is only learnt."""
    try:
        return msgspec.json.decode(text, type=Memory)
    except msgspec.MsgspecError:
        return Memory()
