"""Rows of rate limits: one statement leases slots, for whoever shares the database.

budgets.md section 1.3 has the statement, its traps and its figures. Times are seconds on the
database's clock. Permits are counted in `seq`, which never has a gap.
"""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct
from sqlalchemy import (
    Connection,
    Float,
    Select,
    TextClause,
    bindparam,
    literal_column,
    select,
    text,
    update,
)

from runner.core.budget import Budget
from runner.store.columns import BUDGET

Changed: TypeAlias = float | int | str | None


class BudgetRow(Struct, frozen=True):
    """A budget as its row says, and `db_now`: the database's clock at the look."""

    id: int
    account: str
    kind: str
    step: float
    tat: float
    closed_until: float
    closed_for: float
    closed_why: str
    leased_at: float
    seq: int
    lim: float | None
    win: float | None
    source: str
    others: float
    spread: float
    opened_at: float
    opened_seq: int
    cut_at: float
    memory: str
    version: int
    db_now: float


class Leased(Struct, frozen=True):
    """Permits granted: slot k stands at `first` + k `step`, its number is `first_seq` + k.

    `leased_at` is the database's clock at the lease, against which the slots are to be read.
    """

    first: float
    step: float
    leased_at: float
    first_seq: int


class Ahead(Struct, frozen=True):
    """How far: seconds from now before which no slot may stand (`hold`), the furthest that `tat`
    may be after it (`horizon`), and from where on it must be a clock set back (`clamp`).
    """  # noqa: D205 - the fields are the sentence

    hold: float
    horizon: float
    clamp: float


class _Statements(Struct, frozen=True):
    lease: TextClause
    close: TextClause
    look: Select[*tuple[object, ...]]
    every: Select[*tuple[object, ...]]


_COLUMNS = [BUDGET.c[name] for name in BudgetRow.__struct_fields__ if name != "db_now"]


def _statements(now: str, max2: str) -> _Statements:
    # BASE must not be computed in the FROM part: PostgreSQL computes that before it waits for the
    # row's lock, and would grant the same slots twice. SQLite returns no columns of the FROM part:
    # hence `leased_at`.
    base = (
        f"{max2}({max2}(CASE WHEN tat > c.t + :clamp THEN c.t + :horizon ELSE tat END,"
        " c.t + :hold), closed_until)"
    )
    # Core knows these columns beforehand: of a text's, each look would learn 21 anew.
    look = select(*_COLUMNS, literal_column(now, Float).label("db_now"))
    return _Statements(
        lease=text(
            f"""
            UPDATE budget SET tat = {base} + :n * step, leased_at = c.t, seq = seq + :whole
            FROM (SELECT {now} AS t) AS c
            WHERE id = :id AND {base} <= c.t + :hold + :horizon
            RETURNING tat - :n * step AS first, step, leased_at, seq - :whole AS first_seq
            """  # noqa: S608 - the parts are constants of this file
        ),
        close=text(
            f"""
            UPDATE budget SET
                closed_for = {max2}(closed_until, c.t + :for_s) - c.t,
                closed_until = {max2}(closed_until, c.t + :for_s),
                closed_why = :why, version = version + 1
            FROM (SELECT {now} AS t) AS c
            WHERE id = :id
            """  # noqa: S608 - the parts are constants of this file
        ),
        look=look.where(BUDGET.c.id == bindparam("id")),
        every=look.order_by(BUDGET.c.account, BUDGET.c.kind),
    )


_FOR = {
    "sqlite": _statements("((julianday('now') - 2440587.5) * 86400.0)", "max"),
    # Not now(): that is the transaction's start.
    "postgresql": _statements(
        "CAST(extract(epoch FROM clock_timestamp()) AS double precision)", "greatest"
    ),
}
_MAKE = text(
    """
    INSERT INTO budget (account, kind, step, tat, closed_until, closed_for, closed_why, leased_at,
        seq, source, others, spread, opened_at, opened_seq, cut_at, memory, version)
    VALUES (:account, :kind, :step, 0, 0, 0, '', 0, 0, '', 0, :spread, 0, 0, 0, '{}', 0)
    ON CONFLICT (account, kind) DO NOTHING
    """
)
_ID = text("SELECT id FROM budget WHERE account = :account AND kind = :kind")
_CORRECT = text("UPDATE budget SET tat = tat + :seconds WHERE id = :id")

SAVED = frozenset(
    {
        "step",
        "tat",
        "closed_until",
        "closed_for",
        "closed_why",
        "lim",
        "win",
        "source",
        "others",
        "spread",
        "opened_at",
        "opened_seq",
        "cut_at",
        "memory",
    }
)
"""The columns that learning may write."""


def made(connection: Connection, account: str, kind: str, step: float) -> int:
    """Return the number of an account's budget; made with this step where it is missing."""
    binds = {"account": account, "kind": kind}
    found = connection.execute(_ID, binds).scalar()
    if found is None:
        connection.execute(_MAKE, binds | {"step": step, "spread": Budget().spread})
        found = connection.execute(_ID, binds).scalar_one()
    return int(found)


def look(connection: Connection, budget_id: int) -> BudgetRow:
    """Return a budget's row and the database's clock; `LookupError` where there is none."""
    statement = _FOR[connection.dialect.name].look
    row = connection.execute(statement, {"id": budget_id}).one_or_none()
    if row is None:
        raise LookupError(f"no budget has number {budget_id}")
    return BudgetRow(**row._asdict())


def every(connection: Connection) -> list[BudgetRow]:
    """Return all budgets."""
    rows = connection.execute(_FOR[connection.dialect.name].every)
    return [BudgetRow(**row._asdict()) for row in rows]


def lease(connection: Connection, budget_id: int, n: float, ahead: Ahead) -> Leased | None:
    """Grant n permits (or tokens) one step apart; None: too far ahead, nothing was written."""
    binds = {
        "id": budget_id,
        "n": float(n),
        "whole": round(n),
        "hold": ahead.hold,
        "horizon": ahead.horizon,
        "clamp": ahead.clamp,
    }
    row = connection.execute(_FOR[connection.dialect.name].lease, binds).one_or_none()
    if row is None:
        return None
    # SQLite returns a whole number as an integer.
    return Leased(float(row.first), float(row.step), float(row.leased_at), int(row.first_seq))


def close(connection: Connection, budget_id: int, for_s: float, why: str) -> None:
    """Shut the gate for so many seconds from now; one that is shut for longer stays so.

    The version moves: who learned from the row as it was before must read it again.
    """
    binds = {"id": budget_id, "for_s": float(for_s), "why": why}
    connection.execute(_FOR[connection.dialect.name].close, binds)


def correct(connection: Connection, budget_id: int, seconds: float) -> None:
    """Move the first free slot: a reservation was too small (seconds > 0) or too large."""
    connection.execute(_CORRECT, {"id": budget_id, "seconds": float(seconds)})


def save(
    connection: Connection, budget_id: int, version: int, changes: Mapping[str, Changed]
) -> bool:
    """Write what was learned, if nobody has since that version; False: read again, learn again.

    `ValueError` for a column that is not learning's.
    """
    foreign = set(changes) - SAVED
    if foreign:
        raise ValueError(f"not for saving: {', '.join(sorted(foreign))}")
    c = BUDGET.c
    statement = (
        update(BUDGET)
        .where(c.id == budget_id, c.version == version)
        .values({**changes, "version": version + 1})
    )
    return connection.execute(statement).rowcount == 1
