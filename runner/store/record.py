"""Moves written down: a compare-and-set each, a group of them in one transaction.

Every write of a worker compares (id, generation, attempt, state, token): zero rows means that the
lease was lost (protocol.md section 8, change 1). The kinds are written in the order of a job's
life, whatever the order of the group: settled before created, a job would lose its own
compare-and-set (performance.md section C).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    String,
    bindparam,
    case,
    func,
    literal_column,
    null,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Executable

from runner.core.model import ApiError, JobState, Reason
from runner.core.moves import (
    ORDER,
    Acted,
    Created,
    Doubt,
    Evidence,
    GiveBack,
    Held,
    Intend,
    Move,
    Note,
    Postpone,
    Requeue,
    Settle,
    Threaded,
)
from runner.core.states import Event, step
from runner.store.columns import JOB, NUMBER
from runner.store.pipeline import Answer, pipelined
from runner.store.prepared import Binds, Prepared, Value
from runner.store.storable import storable
from runner.store.sums import Begun, note_begun, note_settled
from runner.store.tally import Deltas, change, moved
from runner.store.turns import pass_on

QUEUED, SUBMITTING, RUNNING = JobState.QUEUED, JobState.SUBMITTING, JobState.RUNNING


class Now(Struct, frozen=True):
    """The two clocks as a group is written: the store's for waits, the wall's for people."""

    clock_ms: int
    wall_ms: int


def _number(number: int) -> ColumnElement[int]:
    # A literal, so that a statement carries only what differs from job to job.
    return literal_column(str(number), Integer)


_J = JOB.c
_FITS: tuple[ColumnElement[bool], ...] = (
    _J.id == bindparam("h_id"),
    _J.generation == bindparam("h_generation"),
    _J.attempt == bindparam("h_attempt"),
    _J.state == bindparam("h_state"),
    _J.token == bindparam("h_token"),
    # Requeue and Postpone leave the token as it is: who let go of a job holds it no more. Not as
    # IS NOT NULL, which is the condition of job_worker: where nobody held a job when the table was
    # last analysed, PostgreSQL takes that index for empty, and reads all of it for each row.
    func.coalesce(_J.worker, literal_column("''", String)) != literal_column("''", String),
)
_UNASKED = _J.cancel_asked == _number(0)
_0, _1 = _number(0), _number(1)
_OPEN = (_J.state == _number(NUMBER[SUBMITTING])) & (_J.clock_closed_ms == _0)

_THREADED = update(JOB).where(*_FITS).values(thread_id=bindparam("p_thread"), own_thread=_1)
_INTEND = (
    update(JOB)
    .where(*_FITS)
    .values(
        state=_number(NUMBER[SUBMITTING]),
        attempt=_J.attempt + _1,
        clock_closed_ms=_0,
        presumed=_0,
        slow_close=_0,
        sender=_J.worker,
        intent_ms=bindparam("p_wall"),
        first_intent_ms=case(
            (_J.first_intent_ms == _0, bindparam("p_wall")), else_=_J.first_intent_ms
        ),
    )
)
_DOUBT = (
    update(JOB)
    .where(*_FITS)
    .values(
        # Set once an attempt: a second closing must not move the end of the wait.
        clock_closed_ms=case(
            (_J.clock_closed_ms == _0, bindparam("p_clock")), else_=_J.clock_closed_ms
        ),
        doubted=_1,
        slow_close=bindparam("p_slow"),
        blocked_by=bindparam("p_blocked_by"),
        refusals=_J.refusals + bindparam("p_counted"),
    )
)
_REQUEUE = (
    update(JOB)
    .where(*_FITS, _UNASKED | (_J.doubted == _1))
    .values(
        state=_number(NUMBER[QUEUED]),
        worker=null(),
        clock_not_before_ms=bindparam("p_later"),
        refusals=_J.refusals + bindparam("p_counted"),
    )
)
_REQUEUE_ASKED = (
    update(JOB)
    # A proof is about its own attempt: after an earlier doubt a look must come before the end.
    .where(*_FITS, _J.cancel_asked == _1, _J.doubted == _0)
    .values(
        state=_number(NUMBER[JobState.CANCELLED]),
        status=Reason.CANCELLED.value,
        worker=null(),
        ended_ms=bindparam("p_wall"),
        refusals=_J.refusals + bindparam("p_counted"),
    )
)
_POSTPONE = (
    update(JOB)
    .where(*_FITS)
    .values(
        worker=null(),
        clock_not_before_ms=bindparam("p_later"),
        blocked_by=bindparam("p_blocked_by"),
    )
)
_CREATED = (
    update(JOB)
    .where(*_FITS)
    .values(
        state=_number(NUMBER[RUNNING]),
        run_id=bindparam("p_run_id"),
        created_ms=bindparam("p_wall"),
        blocked_by=null(),
    )
)
_STILL_HELD = update(JOB).where(*_FITS).values(token=_J.token)
_SETTLE = (
    update(JOB)
    .where(*_FITS)
    .values(
        state=bindparam("p_state"),
        status=bindparam("p_status"),
        ended_ms=bindparam("p_wall"),
        worker=null(),
        run_id=func.coalesce(bindparam("p_run_id"), _J.run_id),
        possible_double=_J.possible_double + bindparam("p_double"),
        blocked_by=null(),
    )
)
_AGAIN = (
    update(JOB)
    # Who asked for an end gets no further generation: the job rests instead.
    .where(*_FITS, _UNASKED)
    .values(
        state=_number(NUMBER[QUEUED]),
        generation=_J.generation + _1,
        attempt=_0,
        refusals=_0,
        doubted=_0,
        presumed=_0,
        slow_close=_0,
        worker=null(),
        clock_not_before_ms=bindparam("p_later"),
        clock_closed_ms=_0,
        first_intent_ms=_0,
        run_id=func.coalesce(bindparam("p_run_id"), _J.run_id),
        possible_double=_J.possible_double + bindparam("p_double"),
        blocked_by=null(),
    )
)
_FORGET_RUN = text("UPDATE job SET run_id = NULL, created_ms = 0 WHERE id = :job_id")
_GIVE_BACK = (
    update(JOB)
    .where(*_FITS)
    .values(
        worker=null(),
        token=_J.token + _1,
        # Nobody carries it, so nobody sends: an open attempt is closed, or nobody ever would.
        clock_closed_ms=case((_OPEN, bindparam("p_clock")), else_=_J.clock_closed_ms),
        doubted=case((_OPEN, _1), else_=_J.doubted),
    )
)

_LOOK_FIRST = text(
    """
    UPDATE job SET doubted = 1, worker = NULL, token = token + 1
    WHERE id = :job_id AND generation = :generation AND state = 0 AND run_id IS NULL
    """
)
"""For a job that waits to be sent though a run of it is known: whoever holds it loses it."""

ATTEMPTED = text(
    """
    INSERT INTO attempt (job_id, generation, attempt, sender, intent_ms, closed_ms, why,
        http_status, request_id, run_id, error, detail, lateness_ms)
    SELECT id, :generation, :attempt, COALESCE(sender, ''), intent_ms, :closed_ms, :why,
        :http_status, :request_id, :run_id, :error, :detail, :lateness_ms
    FROM job WHERE id = :job_id
    """
)
_ENDED = text(
    """
    INSERT INTO outcome (job_id, generation, status, run_id, run, error, http_status, request_id,
        prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens,
        messages, steps, deltas, output_text, attempts, created_ms, ended_ms)
    SELECT id, :generation, :status, run_id, :run, :error, :http_status, :request_id,
        :prompt_tokens, :completion_tokens, :total_tokens, :cached_tokens, :reasoning_tokens,
        :messages, :steps, :deltas, :output_text, :attempts, created_ms, :ended_ms
    FROM job WHERE id = :job_id
    ON CONFLICT (job_id, generation) DO UPDATE SET
        status = excluded.status, run_id = excluded.run_id, run = excluded.run,
        error = excluded.error, http_status = excluded.http_status,
        request_id = excluded.request_id, prompt_tokens = excluded.prompt_tokens,
        completion_tokens = excluded.completion_tokens, total_tokens = excluded.total_tokens,
        cached_tokens = excluded.cached_tokens, reasoning_tokens = excluded.reasoning_tokens,
        messages = excluded.messages, steps = excluded.steps, deltas = excluded.deltas,
        output_text = excluded.output_text, attempts = excluded.attempts,
        created_ms = excluded.created_ms, ended_ms = excluded.ended_ms
    """
)
_ACTED = text(
    """
    INSERT INTO output (job_id, generation, call_id, output)
    VALUES (:job_id, :generation, :call_id, :output)
    ON CONFLICT (job_id, generation, call_id) DO NOTHING
    """
)

_EVENTS: dict[type, Event] = {
    Intend: Event.INTEND,
    Requeue: Event.REFUSED,
    Doubt: Event.DOUBT,
    Created: Event.CREATED,
}
_RESTS: dict[JobState, tuple[Event, Event]] = {
    JobState.SUCCEEDED: (Event.COMPLETED, Event.COMPLETED),
    JobState.FAILED: (Event.REJECTED, Event.ENDED_BADLY),
    JobState.CANCELLED: (Event.CANCEL, Event.RUN_CANCELLED),
}


def _together(statement: Executable) -> Prepared:
    return Prepared(statement, together=True)


_AGAINS, _FORGETTING = _together(_AGAIN), _together(_FORGET_RUN)
_LOOKING_FIRST = _together(_LOOK_FIRST)
_EVIDENCE, _OUTPUTS, _ENDINGS = _together(ATTEMPTED), _together(_ACTED), _together(_ENDED)


def after(move: Move, held: Held) -> JobState:
    """Return the state that a move leads to; `ImpossibleError` where the table has no such step."""
    if isinstance(move, Settle):
        rest = step(held.state, _RESTS[move.state][held.state is RUNNING])
        return step(rest, Event.RETRY) if move.again else rest
    event = _EVENTS.get(type(move))
    if isinstance(move, Created) and move.adopted:
        # Also from queued: the look that precedes a send after a doubt may find the run.
        event = Event.ADOPTED
    return held.state if event is None else step(held.state, event)


def check(move: Move) -> None:
    """Raise `ImpossibleError` in the caller's thread for a move that no state allows."""
    if not isinstance(move, Note):
        after(move, move.held)


def _fits(held: Held) -> dict[str, Value]:
    return {
        "h_id": held.job_id,
        "h_generation": held.generation,
        "h_attempt": held.attempt,
        "h_state": NUMBER[held.state],
        "h_token": held.token,
    }


def _later(delay_ms: int, now: Now) -> int:
    return now.clock_ms + delay_ms if delay_ms > 0 else 0


def _error(error: ApiError | None) -> str:
    if error is None:
        return ""
    parts = {"code": error.code, "type": error.type, "message": error.message, "param": error.param}
    return json.dumps({n: storable(part) for n, part in parts.items() if part}, ensure_ascii=False)


def evidence_binds(
    job_id: int, generation: int, attempt: int, evidence: Evidence, wall_ms: int
) -> Binds:
    """Return the binds of `ATTEMPTED`; the error's text is a JSON object, or ""."""
    return {
        "job_id": job_id,
        "generation": generation,
        "attempt": attempt,
        "closed_ms": wall_ms,
        "why": evidence.why,
        "http_status": evidence.http_status,
        "request_id": storable(evidence.request_id),
        "run_id": storable(evidence.run_id),
        "error": _error(evidence.error),
        "detail": storable(evidence.detail),
        "lateness_ms": evidence.lateness_ms,
    }


def _evidence(held: Held, evidence: Evidence, now: Now) -> Binds:
    return evidence_binds(held.job_id, held.generation, held.attempt, evidence, now.wall_ms)


def _outcome(move: Settle, now: Now) -> Binds:
    usage = move.usage
    return {
        "job_id": move.held.job_id,
        "generation": move.held.generation,
        "status": storable(str(move.status)),
        "run": move.run or None,
        "error": _error(move.error) or None,
        "http_status": move.http_status,
        "request_id": storable(move.request_id),
        "prompt_tokens": usage.prompt if usage else None,
        "completion_tokens": usage.completion if usage else None,
        "total_tokens": usage.total if usage else None,
        "cached_tokens": usage.cached if usage else None,
        "reasoning_tokens": usage.reasoning if usage else None,
        "messages": move.messages or None,
        "steps": move.steps or None,
        "deltas": move.deltas or None,
        "output_text": None if move.output_text is None else storable(move.output_text),
        "attempts": move.held.attempt,
        "ended_ms": now.wall_ms,
    }


class Sheet:
    """What follows from the moves that won: rows to insert, turns to give, counts to change."""

    def __init__(self) -> None:
        self.attempts: list[Binds] = []
        self.outcomes: list[Binds] = []
        self.outputs: list[Binds] = []
        self.forgotten: list[Binds] = []
        self.noted: list[Binds] = []
        self.rested: list[int] = []
        self.settles: list[Settle] = []
        self._steps: Counter[tuple[int, JobState, JobState, str]] = Counter()

    def send(self, connection: Connection, wall_ms: int) -> Begun:
        """Insert the rows, give turns, change the counts, last; return what `note_begun` needs."""
        for prepared, rows in (
            (_EVIDENCE, self.attempts),
            (_OUTPUTS, self.outputs),
            (_ENDINGS, self.outcomes),
            (_FORGETTING, self.forgotten),
            (_LOOKING_FIRST, self.noted),
        ):
            if rows:
                prepared.send(connection, rows)
        if self.rested:
            pass_on(connection, self.rested)
        begun = note_settled(connection, self.settles, wall_ms)
        deltas: Deltas = Counter()
        for (batch_id, before, after_, status), jobs in self._steps.items():
            moved(deltas, batch_id, (before, ""), (after_, status), jobs)
        change(connection, deltas)
        return begun

    def moved(self, held: Held, state: JobState, status: str = "") -> None:
        """Count a job from the state that it was held in to its next."""
        if held.state is not state:
            self._steps[held.batch_id, held.state, state, status] += 1


_STATEMENTS: dict[type, Prepared] = {
    Threaded: _together(_THREADED),
    Intend: _together(_INTEND),
    Doubt: _together(_DOUBT),
    Requeue: _together(_REQUEUE),
    Postpone: _together(_POSTPONE),
    Created: _together(_CREATED),
    Acted: _together(_STILL_HELD),
    Settle: _together(_SETTLE),
    GiveBack: _together(_GIVE_BACK),
}


def _binds(move: Move, now: Now) -> Binds:
    """Return what a move's compare-and-set binds."""
    if isinstance(move, Note):
        return {}
    binds = _fits(move.held)
    match move:
        case Threaded():
            binds["p_thread"] = storable(move.thread_id)
        case Intend():
            binds["p_wall"] = now.wall_ms
        case Doubt():
            binds["p_clock"] = now.clock_ms
            binds["p_slow"] = int(move.slow)
            binds["p_blocked_by"] = storable(move.blocked_by) or None
            binds["p_counted"] = int(move.counted)
        case Requeue():
            binds["p_later"] = _later(move.delay_ms, now)
            binds["p_counted"] = int(move.counted)
        case Postpone():
            binds["p_later"] = _later(move.delay_ms, now)
            binds["p_blocked_by"] = storable(move.blocked_by) or None
        case Created():
            binds["p_run_id"] = storable(move.run_id)
            binds["p_wall"] = now.wall_ms
        case Settle(again=True):
            binds["p_later"] = _later(move.again_delay_ms, now)
            binds["p_run_id"] = storable(move.run_id) or None
            binds["p_double"] = int(move.possible_double)
        case Settle():
            binds["p_state"] = NUMBER[move.state]
            binds["p_status"] = storable(str(move.status))
            binds["p_wall"] = now.wall_ms
            binds["p_run_id"] = storable(move.run_id) or None
            binds["p_double"] = int(move.possible_double)
        case GiveBack():
            binds["p_clock"] = now.clock_ms
        case Acted():
            pass
    return binds


def _follow(move: Move, now: Now, sheet: Sheet) -> None:
    """Note what follows from a move that won."""
    match move:
        case Note():
            sheet.attempts.append(
                evidence_binds(
                    move.job_id, move.generation, move.attempt, move.evidence, now.wall_ms
                )
            )
            if move.evidence.run_id:
                sheet.noted.append({"job_id": move.job_id, "generation": move.generation})
        case Intend():
            sheet.moved(move.held, SUBMITTING)
        case Doubt():
            sheet.attempts.append(_evidence(move.held, move.evidence, now))
        case Requeue():
            sheet.attempts.append(_evidence(move.held, move.evidence, now))
            sheet.moved(move.held, QUEUED)
        case Created():
            _follow_created(move, now, sheet)
        case Acted():
            _follow_acted(move, sheet)
        case Settle():
            _follow_settle(move, now, sheet)
        case Threaded() | Postpone() | GiveBack():
            pass


def _follow_created(move: Created, now: Now, sheet: Sheet) -> None:
    sheet.moved(move.held, RUNNING)
    binds = _evidence(move.held, move.evidence, now)
    sheet.attempts.append(binds if move.evidence.run_id else {**binds, "run_id": move.run_id})
    for run_id in move.doubles:
        sheet.attempts.append(_evidence(move.held, Evidence("double", run_id=run_id), now))


def _follow_acted(move: Acted, sheet: Sheet) -> None:
    outputs: dict[str, str] = json.loads(move.outputs)
    sheet.outputs.extend(
        {
            "job_id": move.held.job_id,
            "generation": move.held.generation,
            "call_id": storable(call_id),
            "output": storable(output),
        }
        for call_id, output in outputs.items()
    )


def _follow_settle(move: Settle, now: Now, sheet: Sheet) -> None:
    job: Binds = {"job_id": move.held.job_id}
    sheet.outcomes.append(_outcome(move, now))
    sheet.settles.append(move)
    if move.evidence is not None:
        sheet.attempts.append(_evidence(move.held, move.evidence, now))
    if move.again:
        # The turn stays with the job: it is the same place in its thread's order.
        sheet.forgotten.append(job)
        sheet.moved(move.held, QUEUED)
    else:
        sheet.rested.append(move.held.job_id)
        sheet.moved(move.held, move.state, storable(str(move.status)))


def write_group(
    connection: Connection, moves: Sequence[Move], now: Now, *, careful: bool
) -> list[bool] | None:
    """Write moves in the order of a job's life; return which of them won.

    At most one move of a kind a job, none of an earlier kind after a later. Not `careful`: a
    statement a kind, and None where one did not change as many rows as it should have; the caller
    rolls back and comes again, `careful`: row by row.
    """
    by_kind: dict[type, list[Move]] = {}
    for move in moves:
        by_kind.setdefault(type(move), []).append(move)
    sheet = Sheet()
    if careful:
        won = _write_singly(connection, moves, now, sheet)
        note_begun(connection, sheet.send(connection, now.wall_ms), now.wall_ms)
        return won
    try:
        begun = _send_whole(connection, by_kind, now, sheet)
    except IntegrityError:
        # A row that hangs on a move which lost, sent before that was known. A fault of ours would
        # come up again, row by row.
        return None
    if begun is None:
        return None
    note_begun(connection, begun, now.wall_ms)
    return [True] * len(moves)


def _send_whole(
    connection: Connection, by_kind: Mapping[type, Sequence[Move]], now: Now, sheet: Sheet
) -> Begun | None:
    """Send a group as if all its moves would win; None where one lost."""
    sent: list[_Sent] = []
    with pipelined(connection):
        for kind in ORDER:
            sent += _send_all(connection, by_kind.get(kind, ()), now, sheet)
            if any(map(_lost, sent)):
                return None
        begun = sheet.send(connection, now.wall_ms)
    return None if any(map(_lost, sent)) else begun


_Sent: TypeAlias = tuple[Answer, int]
"""A statement's answer, and how many rows it should change."""


def _lost(sent: _Sent) -> bool:
    """Whether a statement has changed other than it should have; not before it is known."""
    answer, expected = sent
    return 0 <= answer.rowcount != expected


def _write_singly(
    connection: Connection, moves: Sequence[Move], now: Now, sheet: Sheet
) -> list[bool]:
    won = [False] * len(moves)
    for kind in ORDER:
        for place, move in enumerate(moves):
            if type(move) is not kind:
                continue
            if isinstance(move, Note):
                _follow(move, now, sheet)
                won[place] = True
            else:
                won[place] = _write_one(connection, move, now, sheet)
    return won


def _send_all(connection: Connection, moves: Sequence[Move], now: Now, sheet: Sheet) -> list[_Sent]:
    """Send moves of one kind, and note what follows as if all had won."""
    by_statement: dict[Prepared | None, list[Move]] = {}
    for move in moves:
        again = isinstance(move, Settle) and move.again
        statement = _AGAINS if again else _STATEMENTS.get(type(move))
        by_statement.setdefault(statement, []).append(move)
    sent: list[_Sent] = []
    for statement, some in by_statement.items():
        if statement is not None:
            answer = statement.send(connection, [_binds(move, now) for move in some])
            sent.append((answer, len(some)))
        for move in some:
            _follow(move, now, sheet)
    return sent


def _write_one(connection: Connection, move: Move, now: Now, sheet: Sheet) -> bool:
    if isinstance(move, Settle) and move.again:
        if _AGAINS.run(connection, [_binds(move, now)]) == 1:
            _follow(move, now, sheet)
            return True
        # Cancelled meanwhile: it rests with the end that it had.
        move = replace(move, again=False)
    if _STATEMENTS[type(move)].run(connection, [_binds(move, now)]) == 1:
        _follow(move, now, sheet)
        return True
    return isinstance(move, Requeue) and _cancel_instead(connection, move, now, sheet)


def _cancel_instead(connection: Connection, move: Requeue, now: Now, sheet: Sheet) -> bool:
    """Bring a job to rest that a person wants cancelled, now that nothing of it is outstanding."""
    held = move.held
    binds = _fits(held) | {"p_wall": now.wall_ms, "p_counted": int(move.counted)}
    if connection.execute(_REQUEUE_ASKED, binds).rowcount != 1:
        return False
    sheet.attempts.append(_evidence(held, move.evidence, now))
    end = Settle(held, JobState.CANCELLED, Reason.CANCELLED)
    sheet.outcomes.append(_outcome(end, now))
    sheet.settles.append(end)
    sheet.rested.append(held.job_id)
    sheet.moved(held, JobState.CANCELLED, Reason.CANCELLED)
    return True
