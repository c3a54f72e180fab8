"""Finding a limit that no header names, by one deliberate closure (docs: budgets, 2.3).

The first refusal closes the gate until the server admits again: told by Retry-After, or found by
single probes. How long that takes, and what was admitted before, give window and limit. A short
closure means a bucket: its rate is what was admitted between two refusals. What was cut too far
grows back while it is quiet.
"""

from dataclasses import dataclass, replace

from runner.core.budget import (
    USUAL_WINDOW,
    Budget,
    Refused,
    Source,
    closed,
    own_use,
    paced,
)
from runner.core.limits import ROUND, rounded
from runner.core.marks import Marks, refused_since, used_at
from runner.core.pacing import initial_spread, spacing

PROBE_STEP = 0.5
"""Seconds between slots while probing: one call, and its answer before the next."""

LONGEST_PROBE = 30.0
GROWTH = 0.02
FAST_GROWTH = 0.05
LARGEST_GROWTH = 0.32
QUIET_CALLS = 100
"""Admitted since the last refusal before anything grows: small limits would probe all day."""

VAIN_CUTS = 4
VAIN_BELOW = 1 / 2
"""A cut below this part of what the server has admitted is vain."""

SHOWN_AFTER = 2.0
"""Seconds from the second cut after which what was admitted shows something; an opening burst,
before it, shows nothing."""

LONGEST_DEAF = 100.0
DEAF_GATE = 0.5


@dataclass(frozen=True, slots=True)
class Closing:
    """A closure from the refused permit (`began`, `seq`) to when the server admits (`opens`).

    `used` permits had gone when that was known: with the refusals known by then taken out, that is
    what the server admitted before it closed.
    """

    began: float
    seq: int
    used: int
    opens: float
    now: float
    chance: float


def refused_without_headers(row: Budget, event: Refused) -> Budget:
    """Return the row after a refusal that says at most how long to wait."""
    memory = row.memory
    if event.slot < row.cut_at:
        return _belated(row, event)
    if event.at < memory.deaf_until:
        return closed(row, event.at, event.wait or DEAF_GATE, event.chance)
    if event.wait is not None:
        opens = event.at + event.wait
        return _cut(row, Closing(event.slot, event.seq, event.seq, opens, event.at, event.chance))
    probe = _next_probe(row, event)
    if not memory.probe:
        memory = replace(memory, closed_at=event.slot, closed_seq=event.seq, probe_step=row.step)
    probing = replace(row, step=PROBE_STEP, memory=replace(memory, probe=probe))
    return closed(probing, event.at, probe, 0.0)


def probe_admitted(row: Budget, slot: float, seq: int) -> Budget:
    """Return the row after a call that looked into a closure was admitted: now the cut is made."""
    memory = row.memory
    before = replace(row, step=memory.probe_step, memory=replace(memory, probe=0.0))
    return _cut(before, Closing(memory.closed_at, memory.closed_seq, seq, slot, slot, 0.5))


def resume_at(marks: Marks, since: float, until: float, window: float, step: float) -> float:
    """Return when even pacing may go on without meeting the shape of what was sent in a time.

    The k-th call from then on comes k steps later; the one it follows by `window` must be out.
    """
    first = used_at(marks, since)
    sent = [mark.at - (mark.seq - first) * step for mark in marks if since <= mark.at <= until]
    return window + max(sent, default=since)


def grown(row: Budget, slot: float, seq: int) -> Budget:
    """Return the row with a larger limit, if it was quiet for long enough."""
    memory, window = row.memory, row.win
    if slot < memory.deaf_until:
        return _grown_deaf(row, slot, seq)
    if row.lim is None or window is None or memory.probe or slot < row.closed_until:
        return row
    quiet = slot - max(row.opened_at, memory.refused_at) >= memory.need * window
    due = slot - memory.grown_at >= 0.6 * window
    if not (quiet and due and seq - memory.refused_seq >= QUIET_CALLS):
        return row
    least = FAST_GROWTH if row.lim < 0.9 * memory.best else GROWTH
    growth = max(memory.growth, least)
    memory = replace(memory, grown_at=slot, growth=min(2 * growth, LARGEST_GROWTH), vain=0)
    return paced(replace(row, lim=row.lim * (1 + growth), memory=memory))


def _next_probe(row: Budget, event: Refused) -> float:
    """Return the seconds until the server is asked again whether it admits.

    Probes also stand just behind the windows that people configure, counted from the opening (at
    first: the first call): at a random time they overstate the window by up to the gap before.
    """
    memory = row.memory
    opened = row.opened_at or (event.slot if memory.first_at is None else memory.first_at)
    ends = (opened + usual + max(0.1, 0.02 * usual) for usual in ROUND)
    behind = min((end - event.at for end in ends if end > event.at + 0.3), default=LONGEST_PROBE)
    if row.win is None:
        return min(behind, LONGEST_PROBE)
    doubled = min(2 * memory.probe, LONGEST_PROBE) if memory.probe else 0.3 + 0.7 * event.chance
    return min(doubled, behind)


def _belated(row: Budget, event: Refused) -> Budget:
    """A refusal of a call sent before the cut: it may lengthen the gate, it never cuts again."""
    if event.seq < row.memory.counted_to and row.lim is not None:
        # It was counted as admitted when the limit was.
        row = paced(replace(row, lim=max(1.0, row.lim - 1)))
    if event.wait is None or event.at + event.wait <= row.closed_until:
        return row
    return closed(row, event.at, event.wait, event.chance)


def _cut(row: Budget, closing: Closing) -> Budget:
    """Cut once for a closure."""
    row = _judged(row, closing)
    memory = row.memory
    if memory.deaf_until > closing.now:
        return row
    if closing.opens - closing.began > max(2.0, 5 * row.step):
        cut = _window_cut(row, closing)
        win, lim = cut.win or USUAL_WINDOW, cut.lim or 1.0
        step = spacing(lim, win, cut.spread)
        opens = max(
            closing.opens, resume_at(memory.marks, closing.began - win, closing.began, win, step)
        )
    else:
        steady = row.win is not None and not memory.bucket
        cut, opens = (_less if steady else _bucket_cut)(row, closing), closing.opens
    return _reopening(row, cut, closing, opens)


def _window_cut(row: Budget, closing: Closing) -> Budget:
    memory, window = row.memory, row.win
    opened = row.opened_at or (closing.began if memory.first_at is None else memory.first_at)
    cycle = closing.opens - opened
    admitted = closing.used - row.opened_seq - refused_since(memory.marks, opened)
    fits = window is not None and 0.6 * window <= cycle <= 1.05 * window
    short = window is not None and cycle < 0.6 * window and admitted < 5
    if (fits or short) and not memory.bucket:
        return _less(row, closing)
    cycle = rounded(cycle)
    limit = max(1.0, float(admitted))
    if row.lim is not None and window is not None:
        # Never faster for a refusal; what was cut too far grows back.
        limit = min(limit, row.lim * cycle / window)
    return replace(
        row,
        lim=limit,
        win=cycle,
        spread=initial_spread(cycle),
        source=Source.CLOSURE,
        memory=replace(memory, bucket=False, counted_to=closing.used),
    )


def _bucket_cut(row: Budget, closing: Closing) -> Budget:
    memory = row.memory
    if row.lim is not None and closing.began > memory.refused_at > 0:
        span = closing.began - memory.refused_at
        rate = (closing.seq - memory.refused_seq) / span
    else:
        since = max(closing.began - 2.0, memory.first_at or 0.0)
        rate = 0.5 * (closing.seq - used_at(memory.marks, since)) / 2.0
    rate = min(max(rate, 0.1 / row.step), 1 / row.step)
    return replace(
        row,
        lim=max(0.1, USUAL_WINDOW * rate / 1.02),
        win=USUAL_WINDOW,
        spread=initial_spread(USUAL_WINDOW),
        source=Source.CLOSURE,
        memory=replace(memory, bucket=True, counted_to=-1),
    )


def _less(row: Budget, closing: Closing) -> Budget:
    n = own_use(row, closing.began, closing.seq)
    limit = row.lim or n
    fewer = n if 1 <= n < 0.97 * limit else 0.99 * limit
    return replace(row, lim=max(1.0, fewer), memory=replace(row.memory, counted_to=-1))


def _reopening(row: Budget, cut: Budget, closing: Closing, opens: float) -> Budget:
    memory, window = cut.memory, cut.win or USUAL_WINDOW
    least = (1 + closing.chance) * min(3.0, window / 20)
    shut = closed(paced(cut), closing.now, max(opens - closing.now, least), closing.chance)
    growth_refused = memory.grown_at and closing.began - memory.grown_at < 1.6 * window
    return replace(
        shut,
        opened_at=shut.closed_until,
        opened_seq=closing.seq + 1,
        memory=replace(
            memory,
            refused_at=closing.began,
            refused_seq=closing.seq,
            growth=0.0,
            need=2 if growth_refused else 1,
            best=max(row.lim or cut.lim or 0.0, 0.95 * memory.best),
        ),
    )


def _judged(row: Budget, closing: Closing) -> Budget:
    """Count the cuts made far below what the server has shown that it admits.

    So far down a refusal is hardly about our rate: it would otherwise sink to a call a second for
    a server that refuses one in twenty, whoever asks. After four such cuts in a row
    go back to what was shown, and obey the gate alone for a while.
    """
    memory, window = row.memory, row.win or USUAL_WINDOW
    if row.lim is None:
        return row
    if not memory.base_at:
        memory = replace(memory, base_at=closing.began, base_seq=closing.seq)
        return replace(row, memory=memory)
    shown = max(memory.shown, _throughput(row, closing.began, closing.seq))
    vain = memory.vain + 1 if shown * VAIN_BELOW * row.step > 1 else 0
    memory = replace(memory, shown=shown, vain=vain)
    if vain < VAIN_CUTS:
        return replace(row, memory=memory)
    until = closing.now + min(LONGEST_DEAF, 10 * window)
    memory = replace(memory, vain=0, shown=0.0, deaf_until=until, grown_at=closing.now)
    back = paced(replace(row, lim=shown * window, memory=memory))
    return closed(back, closing.now, max(0.0, closing.opens - closing.now), closing.chance)


def _throughput(row: Budget, at: float, seq: int) -> float:
    """Return the permits a second that were admitted in the last window, or since the base."""
    memory, window = row.memory, row.win or USUAL_WINDOW
    span = at - memory.base_at
    if span >= window:
        return own_use(row, at, seq) / window
    admitted = seq - memory.base_seq - refused_since(memory.marks, memory.base_at)
    return max(0, admitted) / span if span >= SHOWN_AFTER else 0.0


def _grown_deaf(row: Budget, slot: float, seq: int) -> Budget:
    """Grow although calls are refused, for as long as more are admitted for it."""
    memory, window = row.memory, row.win or USUAL_WINDOW
    if row.lim is None or slot - memory.grown_at < 0.6 * window:
        return row
    admitted = _throughput(row, slot, seq)
    memory = replace(memory, grown_at=slot, shown=max(memory.shown, admitted))
    limit = row.lim
    if limit < 1.5 * admitted * window:
        limit *= 1 + LARGEST_GROWTH
    elif limit > 2 * admitted * window:
        # Half of it is refused or waits at the gate: it was about our rate after all.
        limit, memory = max(1.0, admitted * window), replace(memory, deaf_until=0.0)
    return paced(replace(row, lim=limit, memory=memory))
