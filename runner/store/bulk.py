"""Many rows in one statement: a million manifest lines pass here.

Each run of a statement costs as much as the row that it writes, and gives the interpreter's lock
away and back; on SQLite a hundred rows a statement took 13.0 microseconds a line where one took
19.1 (job and body, all indexes). PostgreSQL takes all rows as arrays: a value that the driver asks
for its type costs more than the rest of it.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from sqlalchemy import Connection

from runner.store.pipeline import send
from runner.store.prepared import array, type_of

Row: TypeAlias = "tuple[int | str | bytes | None, ...]"

ROWS = 100
"""Rows a statement on SQLite: more gain nothing, and it takes 32,766 values in all."""


class Bulk:
    """An insert into a table: `given` names what each row gives, `fixed` what is the same for all."""

    def __init__(
        self,
        table: str,
        given: Sequence[str],
        fixed: Mapping[str, int] | None = None,
        tail: str = "",
    ) -> None:
        constants = dict(fixed or {})
        head = f"INSERT INTO {table} ({', '.join((*given, *constants))})"
        numbers = [str(number) for number in constants.values()]
        row = f"({', '.join([*['?'] * len(given), *numbers])})"
        self._many = f"{head} VALUES {', '.join([row] * ROWS)} {tail}"
        self._one = f"{head} VALUES {row} {tail}"
        arrays = ", ".join(f"%s::{type_of(name)}[]" for name in given)
        values = ", ".join(["given.*", *numbers])
        source = f"FROM unnest({arrays}) AS given {tail}"
        self._arrays = f"{head} SELECT {values} {source}"
        self._given = tuple(given)

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Insert the rows; return how many there are more in the table."""
        if not rows:
            return 0
        if connection.dialect.name == "postgresql":
            columns = zip(self._given, zip(*rows, strict=True), strict=True)
            arrays = tuple(array(name, column) for name, column in columns)
            return send(connection, self._arrays, arrays).rowcount
        whole = len(rows) - len(rows) % ROWS
        inserted = 0
        for start in range(0, whole, ROWS):
            values = tuple(chain.from_iterable(rows[start : start + ROWS]))
            inserted += connection.exec_driver_sql(self._many, values).rowcount
        if whole < len(rows):
            inserted += connection.exec_driver_sql(self._one, list(rows[whole:])).rowcount
        return inserted
