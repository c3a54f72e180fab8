"""Learning an unknown limit: `learn(row, event) -> row` (docs: budgets, "Learning").

Written back by compare-and-set on `version`: a race lost means read and learn anew, at once for
refusals, with the next lease for headers. An equal row is one that needs no write.
"""

from msgspec.structs import replace

from runner.core.budget import (
    FEW,
    FREE,
    Answered,
    Budget,
    Event,
    GivenUp,
    Lifted,
    Measured,
    Memory,
    Refused,
    RunFailed,
    Source,
    closed,
    counted,
    own_use,
    paced,
    uncounted,
)
from runner.core.closing import grown, probe_admitted, refused_without_headers
from runner.core.limits import Limits, Seen, rounded, window_of
from runner.core.marks import reached
from runner.core.pacing import initial_spread
from runner.core.searching import run_failed, search_grown
from runner.core.waits import backoff

OPENING_CALLS = 12
OPENING_STEP = 0.1
LATER_STEP = 0.3
"""Steps while a header gave the limit but not yet its window."""

FASTER = 0.98
"""What an answer makes of the step after a refusal that taught nothing: free in 260 answers."""

KEPT_ANSWERS = 8
MINUTE = 60.0
STRICT_SHARE = 0.03


def learn(row: Budget, event: Event) -> Budget:
    """Return the row after an event; equal to `row` where nothing was learnt."""
    match event:
        case Answered():
            return _answered(row, event)
        case Refused():
            return _refused(row, event)
        case GivenUp():
            return uncounted(counted(row, event.slot, event.seq), event.slot)
        case RunFailed():
            return run_failed(row, event)
        case Measured():
            return _measured(row, event.spread)
        case Lifted():
            return _lifted(row)


def _answered(row: Budget, event: Answered) -> Budget:
    row = counted(row, event.slot, event.seq)
    memory = row.memory
    if memory.in_row and event.slot >= row.cut_at:
        row = replace(row, memory=replace(memory, in_row=0))
    if event.limits is not None and _speaks(row, event.limits):
        return _others(_headers(row, event, event.limits), event, event.limits)
    if row.source is None and row.step > FREE and not memory.probe and not event.limits:
        # After a refusal that taught nothing no herd leaves the gate: the pace rises by the answer.
        return replace(row, step=max(FREE, FASTER * row.step) if memory.refused_at else FREE)
    if memory.probe and event.slot >= row.cut_at:
        return probe_admitted(row, event.slot, event.seq)
    if row.source is Source.CLOSURE:
        return grown(row, event.slot, event.seq)
    if row.source is Source.SEARCH:
        return search_grown(row, event.slot)
    return row


def _speaks(row: Budget, limits: Limits) -> bool:
    """Whether headers speak of this row's limit: a limit that the user gave is not overruled."""
    return row.source is not Source.FLAG or limits.limit == row.lim


def _headers(row: Budget, event: Answered, limits: Limits) -> Budget:
    memory = row.memory
    if row.source is Source.FLAG:
        return row
    if row.source is not Source.HEADER:
        # Headers are better than what was guessed; begin anew with them.
        row = replace(row, source=Source.HEADER, win=None, opened_at=0.0)
        memory = replace(memory, probe=0.0, calls=0, seen=())
    row = replace(row, lim=limits.limit)
    if row.win is None or not memory.bucket:
        seen = Seen(event.at, limits.limit - limits.remaining, limits.reset or 0.0)
        memory = replace(memory, seen=(*memory.seen, seen)[-KEPT_ANSWERS:], calls=memory.calls + 1)
    row = replace(row, memory=memory)
    return _windowed(row, limits) if row.win is None else _longer(row, limits)


def _windowed(row: Budget, limits: Limits) -> Budget:
    """Find the window, or go slowly until four answers have told it."""
    memory = row.memory
    first = memory.first_at if memory.first_at is not None else 0.0
    meaning = window_of(memory.seen, limits.limit, first)
    if meaning is not None:
        memory = replace(memory, bucket=meaning.bucket)
        return _with_window(replace(row, memory=memory), meaning.window)
    if memory.calls >= OPENING_CALLS and not any(seen.reset for seen in memory.seen):
        # Requests a minute is what these headers count where they say no more (OpenAI's guide).
        return _with_window(row, MINUTE)
    return replace(row, step=OPENING_STEP if memory.calls < OPENING_CALLS else LATER_STEP)


def _longer(row: Budget, limits: Limits) -> Budget:
    """A fixed window of unknown phase looks short at first: a longer reset corrects it."""
    if row.win is None or row.memory.bucket or (limits.reset or 0.0) <= 1.02 * row.win:
        return row
    return _with_window(row, rounded(limits.reset or row.win))


def _with_window(row: Budget, window: float) -> Budget:
    return paced(replace(row, win=window, spread=initial_spread(window)))


def _others(row: Budget, event: Answered | Refused, limits: Limits) -> Budget:
    """Give way to others: what is used beyond our own count is theirs."""
    if row.win is None or row.lim is None:
        return row
    used = limits.limit - limits.remaining
    ours = own_use(row, event.slot, event.seq)
    if row.memory.bucket:
        seen, up, down = max(0.0, used - max(2.0, 0.05 * limits.limit)), 0.3, 0.1
    else:
        seen, up, down = max(0.0, used - ours), 0.5, 0.05
    others = row.others + (up if seen > row.others else down) * (seen - row.others)
    window, limit = row.win, row.lim
    row = paced(replace(row, others=others))
    room = limit - others - 1 - 0.05 * others
    if row.memory.bucket or others <= FEW or ours < room:
        return row
    # Room again when as many of ours have left the window as are too many in it.
    opens = reached(row.memory.marks, event.seq + 1 - max(1.0, room)) + window
    return closed(row, event.at, opens - event.at, 0.0) if opens > event.at else row


def _refused(row: Budget, event: Refused) -> Budget:
    row = counted(row, event.slot, event.seq)
    row = uncounted(row, event.slot)
    limits = event.limits
    if limits is None and row.source not in {Source.FLAG, Source.HEADER}:
        return refused_without_headers(row, event)
    if limits is not None and row.source is not Source.FLAG:
        row = paced(replace(row, source=Source.HEADER, lim=limits.limit))
        row = _window_of_refusal(row, event, limits)
    if event.slot < row.cut_at:
        # It belongs to a gate that is closed already; a longer wait lengthens it.
        return closed(row, event.at, event.wait, event.chance) if event.wait else row
    row = _margin(row, event)
    in_row = row.memory.in_row + 1
    wait = event.wait or backoff(in_row, event.chance)
    if row.others > FEW and row.win is not None:
        wait = max(wait, (1 + event.chance) * min(3.0, row.win / 20))
    row = replace(row, memory=replace(row.memory, in_row=in_row))
    return closed(row, event.at, wait, event.chance)


def _window_of_refusal(row: Budget, event: Refused, limits: Limits) -> Budget:
    """Take the window from a first refusal, where only refusals carry headers.

    What is full opens when its first call leaves: a window after that call.
    """
    told, first = event.wait or limits.reset, row.memory.first_at
    if row.win is not None or not told or first is None or event.at <= first:
        return row
    return _with_window(row, rounded(event.at + told - first))


def _margin(row: Budget, event: Refused) -> Budget:
    """Widen the spacing where a refusal shows that the network spreads more than was allowed for.

    At our full count the spread was too small. Far below it, with a wait of a step or two, the
    server admits no burst at all: every second call comes early, whoever paces.
    """
    if row.win is None or row.lim is None:
        return row
    memory, ours = row.memory, own_use(row, event.slot, event.seq)
    if ours >= 0.97 * row.lim:
        spread = min(1.25 * row.spread, 0.02 * row.win)
        return paced(replace(row, spread=spread, memory=replace(memory, floor=spread)))
    if ours >= 0.9 * row.lim or (event.wait or row.win) > 2 * row.step:
        return row
    strict, calls = memory.strict + 1, event.seq - memory.strict_seq
    if strict >= 3 and strict >= STRICT_SHARE * calls:
        extra = min(max(row.spread / 2, 1.5 * memory.extra), row.win / row.lim)
        fresh: Memory = replace(memory, extra=extra, strict=0, strict_seq=event.seq)
        return paced(replace(row, memory=fresh))
    return replace(row, memory=replace(memory, strict=strict))


def _measured(row: Budget, spread: float) -> Budget:
    """Take a wider spread at once and a narrower one slowly: many processes measure."""
    if row.win is None:
        return row
    part = 1.0 if spread > row.spread else 0.1
    taken = max(row.memory.floor, row.spread + part * (spread - row.spread))
    return paced(replace(row, spread=taken))


def _lifted(row: Budget) -> Budget:
    """Undo what refusals taught; a limit of the user's, the headers' or failed runs' stays."""
    if row.source not in {None, Source.CLOSURE}:
        return row
    memory = Memory(first_at=row.memory.first_at, marks=row.memory.marks)
    return replace(row, step=FREE, lim=None, win=None, source=None, memory=memory)
