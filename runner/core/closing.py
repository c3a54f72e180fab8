"""Finding a limit that no header names, by one deliberate closure (docs: budgets, 2.3).

The first refusal closes the gate until the server admits again: told by Retry-After, or found by
single probes. How long that takes, and what was admitted before, give window and limit. A short
closure means a bucket: its rate is what was admitted between two refusals. What was cut too far
grows back while it is quiet.
"""

from msgspec import Struct
from msgspec.structs import replace

from runner.core.budget import (
    FIRST,
    FREE,
    USUAL_WINDOW,
    Budget,
    Memory,
    Refused,
    Source,
    closed,
    opening,
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

BESIDE_GROWTH = 0.5
"""Growth after a refusal that was not about our rate: more than those taken for one take away."""

OPENING_RATE = 200.0
"""Permits a second after a first refusal: an opening of a few calls measures no rate, the next
refusal does. Taken for a rate, the fifth call's refusal by chance held everything to one a second.
"""

MEASURED = 20
"""Admitted in one opening of the gate: as many measure a pace."""

BELOW_KEPT = 0.5
"""A pace below this part of one that was admitted is not what a refusal is about."""
WEAR = 0.9
"""What is left of that proof after each refusal that it has explained away."""

FEWEST = 5
EARLY = 3
LEAST_RATE = 0.25
"""Permits a second: a slower bucket asks for waits that are taken for a window's."""

TOLD_SHARE = 0.4
FORGET = 0.8
MOST_TOLD = 4.0
"""Permits a second that short waits are believed for: some servers always tell the same wait."""

SHORT_WAIT = 0.5
"""A told wait up to this is no rounding up to a whole second."""


class Closing(Struct, frozen=True):
    """A closure from the refused permit (`began`, `seq`) to when the server admits (`opens`).

    `used` permits had gone when that was known: with the refusals known by then taken out, that is
    what the server admitted before it closed. `shown`: it was told, or a probe met it closed; else
    all that is known is that one call was refused and the next was not.
    """

    began: float
    seq: int
    used: int
    opens: float
    now: float
    chance: float
    shown: bool = True


def refused_without_headers(row: Budget, event: Refused) -> Budget:
    """Return the row after a refusal that says at most how long to wait."""
    memory = row.memory
    if event.slot < row.cut_at:
        return _belated(row, event)
    if event.wait is not None and _says_nothing(row, event):
        # What was admitted so far goes on counting: it stands in the server's window.
        memory = replace(memory, refused_at=event.slot, early=memory.early + 1)
        row = replace(row, step=FIRST, memory=memory)
        return closed(row, event.at, event.wait, event.chance)
    if event.wait is not None and _beside_the_rate(row, event):
        memory = replace(memory, refused_at=event.slot, refused_seq=event.seq, beside=True)
        return opening(closed(replace(row, memory=memory), event.at, event.wait, event.chance))
    if event.wait is not None:
        if event.wait <= SHORT_WAIT:
            memory = replace(memory, longest=max(event.wait, FORGET * memory.longest))
            row = replace(row, memory=memory)
        opens = event.at + event.wait
        told = Closing(event.slot, event.seq, event.seq + 1, opens, event.at, event.chance)
        return _cut(row, told)
    probe = _next_probe(row, event)
    if memory.probe:
        memory = replace(memory, shown=True)
    else:
        memory = replace(
            memory,
            closed_at=event.slot,
            closed_seq=event.seq,
            probe_step=row.step,
            shown=False,
        )
    probing = replace(row, step=PROBE_STEP, memory=replace(memory, probe=probe))
    return closed(probing, event.at, probe, 0.0)


def probe_admitted(row: Budget, slot: float, seq: int) -> Budget:
    """Return the row after a call that looked into a closure was admitted: now the cut is made."""
    memory = row.memory
    before = replace(row, step=memory.probe_step, memory=replace(memory, probe=0.0))
    closing = Closing(memory.closed_at, memory.closed_seq, seq, slot, slot, 0.5, memory.shown)
    if closing.shown or row.lim is None:
        return _cut(before, closing)
    return _single(before, closing)


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
    if row.lim is None or window is None or memory.probe or slot < row.closed_until:
        return row
    quiet = slot - max(row.opened_at, memory.refused_at) >= memory.need * window
    due = slot - memory.grown_at >= 0.6 * window
    if memory.beside:
        memory = replace(memory, beside=False)
        return paced(
            replace(row, lim=min(row.lim * (1 + BESIDE_GROWTH), window / FREE), memory=memory)
        )
    # So many calls are not waited for far below what was had before: there they take for ever.
    proven = seq - memory.refused_seq >= QUIET_CALLS or row.lim < 0.5 * memory.best
    if not (quiet and due and proven):
        return row
    least = FAST_GROWTH if row.lim < 0.9 * memory.best else GROWTH
    growth = max(memory.growth, least)
    memory = replace(memory, grown_at=slot, growth=min(2 * growth, LARGEST_GROWTH))
    return paced(replace(row, lim=min(row.lim * (1 + growth), window / FREE), memory=memory))


def _next_probe(row: Budget, event: Refused) -> float:
    """Return the seconds until the server is asked again whether it admits.

    First after a short time: what admits then was no window that is full, but chance, or a run too
    many at once. Probes also stand just behind the windows that people configure, counted from the
    opening (at first: the first call): at a random time they overstate the window by up to the gap
    before.
    """
    memory = row.memory
    opened = row.opened_at or (event.slot if memory.first_at is None else memory.first_at)
    ends = (opened + usual + max(0.1, 0.02 * usual) for usual in ROUND)
    behind = min((end - event.at for end in ends if end > event.at + 0.3), default=LONGEST_PROBE)
    soon = 0.3 + 0.7 * event.chance
    if row.win is None:
        return min(behind, LONGEST_PROBE if memory.probe else soon)
    return min(min(2 * memory.probe, LONGEST_PROBE) if memory.probe else soon, behind)


def _belated(row: Budget, event: Refused) -> Budget:
    """A refusal of a call sent before the cut: it may lengthen the gate, it never cuts again."""
    if event.seq < row.memory.counted_to and row.lim is not None:
        # It was counted as admitted when the limit was.
        row = paced(replace(row, lim=max(min(1.0, row.lim), row.lim - 1)))
    if event.wait is None or event.at + event.wait <= row.closed_until:
        return row
    return closed(row, event.at, event.wait, event.chance)


def _single(row: Budget, closing: Closing) -> Budget:
    """Return the row after one refusal that no probe confirmed.

    A bucket that is full refuses so, and so does a server that refuses one call in twenty whoever
    asks. Far below a pace that was admitted before it is not about the pace; that proof wears off.
    """
    memory = row.memory
    admitted, span = _admitted(row, closing.seq), closing.began - row.opened_at
    kept = memory.kept
    if admitted >= MEASURED and span > 0:
        kept = max(kept, admitted / span)
    if 1 / row.step > BELOW_KEPT * kept:
        cut = _cut(replace(row, memory=replace(memory, kept=kept)), closing)
        if row.lim is None or row.win is None or cut.lim is None or cut.win is None:
            return cut
        # One refusal, whatever it followed, is no more than a sign.
        least = 0.5 * row.lim / row.win * cut.win
        return paced(replace(cut, lim=max(cut.lim, least)))
    memory = replace(
        memory,
        kept=WEAR * kept,
        refused_at=closing.began,
        refused_seq=closing.seq,
        beside=True,
    )
    return opening(closed(replace(row, memory=memory), closing.now, 0.0, closing.chance))


def _cut(row: Budget, closing: Closing) -> Budget:
    """Cut once for a closure."""
    memory = row.memory
    if closing.shown and closing.opens - closing.began > max(2.0, 5 * row.step):
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
    admitted = closing.used - max(0, row.opened_seq) - refused_since(memory.marks, opened)
    fits = window is not None and 0.6 * window <= cycle <= 1.05 * window
    short = window is not None and cycle < 0.6 * window and admitted < FEWEST
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
        # A few admitted calls measure no rate, so a cut is at most by half.
        rate = max(_admitted(row, closing.seq) / span, 0.5 / row.step)
    else:
        since = max(closing.began - 2.0, memory.first_at or 0.0)
        rate = max(OPENING_RATE, 0.5 * (closing.seq - used_at(memory.marks, since)) / 2.0)
    rate = min(max(rate, LEAST_RATE, _told_rate(memory)), 1 / row.step)
    return replace(
        row,
        lim=USUAL_WINDOW * rate / 1.02,
        win=USUAL_WINDOW,
        spread=initial_spread(USUAL_WINDOW),
        source=Source.CLOSURE,
        memory=replace(memory, bucket=True, counted_to=-1),
    )


def _told_rate(memory: Memory) -> float:
    """Return a rate that the waits told of late do not speak against, 0 where none was told.

    A bucket that fills by r a second asks to wait 1 / r at most, and of a few waits the longest is
    near that. Refusals by chance measure a rate that sinks with each cut; their waits do not.
    """
    return min(MOST_TOLD, TOLD_SHARE / memory.longest) if memory.longest else 0.0


def _less(row: Budget, closing: Closing) -> Budget:
    n = own_use(row, closing.began, closing.seq)
    limit = row.lim or n
    fewer = n if 1 <= n < 0.97 * limit else 0.99 * limit
    return replace(row, lim=max(min(1.0, limit), fewer), memory=replace(row.memory, counted_to=-1))


def _reopening(row: Budget, cut: Budget, closing: Closing, opens: float) -> Budget:
    memory, window = cut.memory, cut.win or USUAL_WINDOW
    least = (1 + closing.chance) * min(3.0, window / 20)
    # A bucket that said exactly when it has a token again needs no more.
    if memory.bucket and 0 < opens - closing.now <= SHORT_WAIT:
        least = 0.0
    shut = closed(paced(cut), closing.now, max(opens - closing.now, least), closing.chance)
    growth_refused = memory.grown_at and closing.began - memory.grown_at < 1.6 * window
    return replace(
        opening(shut),
        memory=replace(
            memory,
            missed=0,
            refused_at=closing.began,
            refused_seq=closing.seq,
            growth=0.0,
            need=2 if growth_refused else 1,
            best=max(row.lim or cut.lim or 0.0, 0.8 * memory.best),
        ),
    )


def _says_nothing(row: Budget, event: Refused) -> bool:
    """Whether a refusal came before enough was admitted to measure a limit.

    It is others' use, or an earlier command's. After a few of them it is believed to be ours,
    however little went.
    """
    return row.lim is None and row.memory.early < EARLY and _admitted(row, event.seq) < FEWEST


def _beside_the_rate(row: Budget, event: Refused) -> bool:
    """Whether more was admitted since the last refusal than any bucket with such a wait would.

    A bucket that has a token again after `wait` fills by at most 1 / wait a second. A server that
    refuses one call in twenty, whoever asks, admits far more; cutting for it would sink to a call
    a second.
    """
    memory, wait = row.memory, event.wait
    if wait is None or wait > SHORT_WAIT or not memory.refused_at:
        return False
    span, admitted = event.slot - memory.refused_at, _admitted(row, event.seq)
    return admitted >= FEWEST and admitted > 1.5 * (1 + span / wait)


def _admitted(row: Budget, seq: int) -> int:
    """Return how many permits the server admitted since the gate opened, up to a refused one."""
    return 0 if row.opened_seq < 0 else max(0, seq + 1 - row.opened_seq - row.memory.missed)
