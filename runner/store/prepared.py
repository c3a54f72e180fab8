"""Statements made ready once an engine, for the rows of a hot path.

SQLAlchemy's executemany builds each row's parameters anew from the compiled statement: 4 of the 9
microseconds of a move (performance.md section C, raw against Core). Compiled once, the same
statement goes to the driver with rows picked in its own order.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

from sqlalchemy import Connection, Executable
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.compiler import SQLCompiler

Binds: TypeAlias = Mapping[str, int | str | bytes | None]
Pick: TypeAlias = Callable[[Binds], object]


class Prepared:
    """A statement whose parameters are all named and all given in each row."""

    def __init__(self, statement: Executable) -> None:
        self.statement = statement
        self._ready: dict[str, tuple[str, Callable[[Sequence[Binds]], list[object]]]] = {}

    def run(self, connection: Connection, rows: Sequence[Binds]) -> int:
        """Run it for each row; return how many database rows changed in all.

        The sum over all parameter sets: right in sqlite3 and psycopg (performance.md section C).
        """
        name = connection.dialect.name
        if name not in self._ready:
            self._ready[name] = self._compile(connection)
        sql, shape = self._ready[name]
        return connection.exec_driver_sql(sql, shape(rows)).rowcount
