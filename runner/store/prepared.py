"""Statements compiled once an engine, for the rows of a hot path.

SQLAlchemy's executemany builds each row's parameters anew from the compiled statement: 4 of the 9
microseconds of a move (performance.md section C, raw against Core). Here the same statement goes
to the driver, and each row is picked in the driver's own order. SQLite's driver is called without
SQLAlchemy between, which costs as much as several rows for each of a group's ten statements.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

Value: TypeAlias = int | str | bytes | None
Binds: TypeAlias = Mapping[str, Value]


class Prepared:
    """A statement whose parameters are all named, and all given by each row."""

    def __init__(self, statement: Executable) -> None:
        self.statement = statement
        self._texts: dict[str, str] = {}
        self._pick: Callable[[Binds], tuple[Value, ...]] | None = None

    def run(self, connection: Connection, rows: Sequence[Binds]) -> int:
        """Run it for each row; return how many database rows changed in all.

        The sum over all parameter sets is right in sqlite3 and in psycopg (performance.md C).
        """
        name = connection.dialect.name
        if name not in self._texts:
            self._compile(connection)
        if name == "sqlite" and self._pick is not None:
            return _run_many(connection, self._texts[name], [self._pick(row) for row in rows])
        return connection.exec_driver_sql(self._texts[name], [dict(row) for row in rows]).rowcount

    def _compile(self, connection: Connection) -> None:
        if not isinstance(self.statement, ClauseElement):
            raise TypeError(f"{self.statement!r} is no statement")
        compiled = self.statement.compile(dialect=connection.dialect)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(f"{self.statement!r} is no statement")
        if compiled.positiontup is not None:
            names = compiled.positiontup
            one = itemgetter(*names)
            self._pick = one if len(names) > 1 else lambda row: (row[names[0]],)
        self._texts[connection.dialect.name] = str(compiled)


def _run_many(connection: Connection, text: str, rows: Sequence[tuple[Value, ...]]) -> int:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"{driver!r} is no connection to SQLite")
    try:
        return driver.executemany(text, rows).rowcount
    except sqlite3.Error as error:
        # As SQLAlchemy would have raised it: what is locked or full is told by its code.
        raise DBAPIError.instance(text, None, error, sqlite3.Error) from error
