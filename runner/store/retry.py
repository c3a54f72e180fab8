"""Jobs at rest put back to queued as their next generation (protocol.md section 2, row 20)."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection, Row, bindparam, text

from runner.core.model import ApiError, JobState, Reason
from runner.core.states import Event, step
from runner.store import turns
from runner.store.columns import STATES
from runner.store.listen import tell_others
from runner.store.outcomes import error_of, usage_of
from runner.store.sums import Undone, note_undone
from runner.store.tally import Deltas, change, moved

USUAL = frozenset({JobState.FAILED, JobState.CANCELLED})

_LOOK = """
    SELECT j.id, j.batch_id, j.origin, j.state, j.status, j.generation, j.attempt, j.doubted,
        j.thread_id, j.own_thread, o.error,
        o.prompt_tokens, o.completion_tokens, o.total_tokens, o.cached_tokens, o.reasoning_tokens
    FROM job j LEFT JOIN outcome o ON o.job_id = j.id AND o.generation = j.generation
    WHERE j.id IN :ids AND j.state >= 3 ORDER BY j.id
"""
_ENDED = text(_LOOK).bindparams(bindparam("ids", expanding=True))
_ENDED_LOCKED = text(f"{_LOOK} FOR UPDATE OF j").bindparams(bindparam("ids", expanding=True))
_AGAIN = text(
    """
    UPDATE job SET
        state = 0, status = NULL, generation = generation + 1, attempt = 0, refusals = 0,
        doubted = :unsure,
        first_intent_ms = CASE WHEN :unsure = 1 THEN first_intent_ms ELSE 0 END,
        presumed = 0, slow_close = 0, cancel_asked = 0, clock_not_before_ms = 0,
        clock_closed_ms = 0, created_ms = 0, ended_ms = 0, run_id = NULL, worker = NULL,
        token = token + 1, blocked_by = NULL, blocked = :blocked
    WHERE id = :id AND generation = :generation
    """
)


class Wanted(Struct, frozen=True):
    """Which jobs to retry: in one of `states`, and where the others are given, of one of each.

    `codes` are error codes or types as the API spelt them. `named`: the jobs were named one by
    one, so that one that succeeded may be meant too.
    """

    states: frozenset[JobState] = USUAL
    statuses: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    named: bool = False
    even_in_doubt: bool = False

    @property
    def all_states(self) -> frozenset[JobState]:
        """The states that are looked at: succeeded only where jobs are named."""
        if self.named:
            return self.states | {JobState.SUCCEEDED}
        return self.states - {JobState.SUCCEEDED}

    def meets(self, state: JobState, status: str, error: ApiError | None) -> bool:
        """Whether a job that ended so is meant."""
        if state not in self.all_states or (self.statuses and status not in self.statuses):
            return False
        spelt = {error.code, error.type} if error else set[str]()
        return not self.codes or bool(self.codes & spelt)


class Retried(Struct, frozen=True):
    """How many jobs were put back, how many in doubt were left; sums with `+`.

    `unknown` are names that no job of the batch has.
    """

    jobs: int = 0
    held_back_in_doubt: int = 0
    unknown: tuple[str, ...] = ()

    def __add__(self, other: "Retried") -> "Retried":
        return Retried(
            self.jobs + other.jobs,
            self.held_back_in_doubt + other.held_back_in_doubt,
            self.unknown + other.unknown,
        )


def retry(connection: Connection, ids: Sequence[int], wanted: Wanted) -> Retried:
    """Put those of these jobs that are meant back to queued, in one transaction.

    Earlier outcomes are kept. A job in doubt needs a person's word, since its run may be on its
    way still: it comes back `doubted` and with the time of its first intent, so that its send is
    preceded by a look for the runs of all generations.
    """
    look = _ENDED_LOCKED if connection.dialect.name == "postgresql" else _ENDED
    meant: list[Row[object]] = []
    held_back = 0
    for row in connection.execute(look, {"ids": list(ids)}):
        if not wanted.meets(STATES[row.state], row.status, error_of(row.error)):
            continue
        if row.status == Reason.IN_DOUBT and not wanted.even_in_doubt:
            held_back += 1
        else:
            meant.append(row)
    if meant:
        _put_back(connection, meant)
        tell_others(connection)
    return Retried(len(meant), held_back)


def _put_back(connection: Connection, rows: Sequence[Row[object]]) -> None:
    shared: dict[int, set[str]] = {}
    for row in rows:
        if row.thread_id is not None and not row.own_thread:
            shared.setdefault(row.origin, set()).add(row.thread_id)
    for origin, threads in sorted(shared.items()):
        turns.enter(connection, origin)
        turns.busy(connection, origin, threads)
    connection.execute(
        _AGAIN,
        [
            {
                "id": row.id,
                "generation": row.generation,
                "unsure": int(_unsure(row)),
                "blocked": int(row.thread_id is not None and not row.own_thread),
            }
            for row in rows
        ],
    )
    for origin, threads in sorted(shared.items()):
        turns.grant(connection, origin, threads)
    deltas: Deltas = Counter()
    undone: dict[int, list[Undone]] = {}
    for row in rows:
        state = STATES[row.state]
        moved(deltas, row.batch_id, (state, row.status), (step(state, Event.RETRY), ""))
        failed = state is JobState.FAILED
        end = Undone(row.status, failed, error_of(row.error), usage_of(row))
        undone.setdefault(row.batch_id, []).append(end)
    for batch_id, ends in sorted(undone.items()):
        note_undone(connection, batch_id, ends)
    change(connection, deltas)


def _unsure(row: Row[object]) -> bool:
    """Whether a run may exist that no look has excluded.

    Also where a generation that came back in doubt was cancelled before its look.
    """
    return bool(row.status == Reason.IN_DOUBT or (row.doubted and row.attempt == 0))
