"""Statements compiled once an engine, for the rows of a hot path.

SQLAlchemy's executemany builds each row's parameters anew from the compiled statement: 4 of the 9
microseconds of a move (performance.md section C, raw against Core). Here the same statement goes
to the driver, and each row is picked in the driver's own order. SQLite's driver is called without
SQLAlchemy between, which costs as much as several rows for each of a group's ten statements.

On PostgreSQL a group's rows go as arrays in one statement, which the server keeps prepared
(`pipeline.send`). An executemany costs a look-up and an answer a row; and psycopg ends it with a
message that turns off the server's limit for silent transactions.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

from sqlalchemy import Connection
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from runner.store.engine import sqlite_driver
from runner.store.pipeline import Answer, send

Value: TypeAlias = int | str | bytes | None
Binds: TypeAlias = Mapping[str, Value]


TEXTS = frozenset(
    {
        "p_status", "p_run_id", "p_blocked_by", "p_thread", "status", "run_id", "error",
        "request_id", "why", "detail", "output_text", "call_id", "output", "code", "message",
        "custom_id", "thread_id",
    }
)  # fmt: skip
BYTES = frozenset({"run", "messages", "steps", "deltas", "digest", "body", "extra"})
"""Parameters that are no whole numbers: PostgreSQL wants an array's type said."""

_BIND = re.compile(r"%\((\w+)\)s(?:::\w+)?")


class Prepared:
    """A statement whose parameters are all named, and all given by each row.

    `together`: on PostgreSQL many rows go in one statement. It must be an UPDATE with one WHERE, or
    an INSERT of one row of VALUES or of a SELECT with one WHERE; and no row may depend on what the
    row before it did.
    """

    def __init__(self, statement: Executable, *, together: bool = False) -> None:
        self.statement = statement
        self._together = together
        self._names: tuple[str, ...] = ()
        self._texts: dict[str, str] = {}
        self._pick: Callable[[Binds], tuple[Value, ...]] | None = None

    def run(self, connection: Connection, rows: Sequence[Binds]) -> int:
        """Run it for each row; return how many database rows changed in all.

        The sum over all parameter sets is right in sqlite3 (performance.md C), and on PostgreSQL
        with `together`. Of no meaning in a pipeline, where the answer is still to come.
        """
        return self.send(connection, rows).rowcount

    def send(self, connection: Connection, rows: Sequence[Binds]) -> Answer:
        """Run it for each row; the answer's count is there once it has arrived (`pipeline`)."""
        text = self._text(connection)
        if self._pick is not None and connection.dialect.name == "sqlite":
            return _run_many(connection, text, [self._pick(row) for row in rows])
        if self._together:
            columns = tuple(array(name, [row[name] for row in rows]) for name in self._names)
            return send(connection, text, columns)
        *others, last = rows
        for row in others:
            send(connection, text, row)
        return send(connection, text, last)

    def ask(self, connection: Connection, row: Binds) -> Answer:
        """Run it for one row; the rows that it returns are there once they have arrived."""
        text = self._text(connection)
        if connection.dialect.name == "postgresql":
            return send(connection, text, row)
        return connection.exec_driver_sql(text, self._pick(row) if self._pick else ())

    def _text(self, connection: Connection) -> str:
        name = connection.dialect.name
        if name not in self._texts:
            self._compile(connection)
        return self._texts[name]

    def _compile(self, connection: Connection) -> None:
        if not isinstance(self.statement, ClauseElement):
            raise TypeError(f"{self.statement!r} is no statement")
        compiled = self.statement.compile(dialect=connection.dialect)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(f"{self.statement!r} is no statement")
        if compiled.positiontup:
            names = compiled.positiontup
            one = itemgetter(*names)
            self._pick = one if len(names) > 1 else lambda row: (row[names[0]],)
        text = str(compiled)
        if self._together and connection.dialect.name == "postgresql":
            self._names = tuple(dict.fromkeys(_BIND.findall(text)))
            text = of_arrays(text, self._names)
        self._texts[connection.dialect.name] = text


def of_arrays(text: str, names: Sequence[str]) -> str:
    """Return a statement of PostgreSQL's made for one row, for arrays of as many values as rows."""
    places = {name: f"given.v{place}" for place, name in enumerate(names, 1)}
    arrays = ", ".join(f"%s::{type_of(name)}[]" for name in names)
    columns = ", ".join(f"v{place}" for place in range(1, len(names) + 1))
    given = f"unnest({arrays}) AS given({columns})"
    body = _BIND.sub(lambda found: places[found[1]], text)
    if "VALUES" in body:
        head, _, tail = body.partition("VALUES")
        values, tail = _in_brackets(tail)
        return f"{head}SELECT {values} FROM {given} {tail}"  # noqa: S608 - texts of ours
    head, where, tail = body.rpartition("WHERE")
    if body.lstrip().upper().startswith("UPDATE"):
        return f"{head}FROM {given} {where}{tail}"
    condition, on, conflict = tail.partition("ON CONFLICT")
    placed = f"unnest({arrays}) WITH ORDINALITY AS given({columns}, place)"
    return f"{head}, {placed} {where}{condition} ORDER BY given.place {on}{conflict}"


def array(name: str, values: Iterable[Value]) -> str:
    """Spell a parameter's values as PostgreSQL writes an array.

    The driver would ask each value for its type, and quote it by itself: a quarter of a group's
    time.
    """
    if name in TEXTS:
        return f"{{{','.join(map(_quoted, values))}}}"
    if name in BYTES:
        return f"{{{','.join(map(_hexadecimal, values))}}}"
    return f"{{{','.join('NULL' if value is None else str(value) for value in values)}}}"


def _quoted(value: Value) -> str:
    if not isinstance(value, str):
        return "NULL"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _hexadecimal(value: Value) -> str:
    return f'"\\\\x{value.hex()}"' if isinstance(value, bytes) else "NULL"


def type_of(name: str) -> str:
    """Return PostgreSQL's type for the values of a parameter or a column of that name."""
    return "text" if name in TEXTS else "bytea" if name in BYTES else "bigint"


def _in_brackets(text: str) -> tuple[str, str]:
    """Split what begins with a bracket into what it encloses and what follows."""
    depth = 0
    start = text.index("(")
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 1 : place], text[place + 1 :]
    raise ValueError("a bracket that never closes")


def _run_many(connection: Connection, text: str, rows: Sequence[tuple[Value, ...]]) -> Answer:
    with sqlite_driver(connection, text) as driver:
        return driver.executemany(text, rows)
