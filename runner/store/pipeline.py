"""PostgreSQL: statements sent one behind the other, and their answers read together.

A statement that is waited for costs two changes of process, whatever it does; a group has up to
nine. On SQLite, and outside of a pipeline, each answer is there at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    import psycopg

_QUESTION = "question"
_BEGUN = "begun"


class Answer(Protocol):
    """What a statement came to, once it has arrived."""

    @property
    def rowcount(self) -> int:
        """Return how many rows it changed; below 0 while its answer is under way."""
        ...

    def fetchall(self) -> Sequence[Sequence[object]]:
        """Return the rows that it returned."""
        ...


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Send the statements of `send` without waiting; all have arrived when this ends.

    A statement's error is raised by a later one, or at the end; those behind it have
    not run. In here nothing may be asked of the database in another way than by `send`.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    from psycopg import Error, Pipeline  # noqa: PLC0415 - only where PostgreSQL is in use

    if not Pipeline.is_supported():
        yield
        return
    failure: BaseException | None = None
    try:
        with driver_of(connection).pipeline():
            try:
                _begin_now(connection)
                yield
            except BaseException as error:  # noqa: BLE001 - raised again below
                # Not through the driver, which would warn of what was behind it and has not run.
                failure = error
    except Error as error:
        raise failure or _wrapped(error) from error
    if failure is not None:
        raise failure


def send(
    connection: Connection,
    text: str,
    values: Sequence[object] | Mapping[str, object],
    *,
    binary: bool = False,
) -> Answer:
    """Send a statement to PostgreSQL, in the driver's own marks; its text must be one of few.

    The server keeps it prepared where nothing stands between (`engine.Engines`): to read and plan
    it took a quarter of the server's time. `binary`: bytes come as they are, not as digits.
    """
    from psycopg import Error  # noqa: PLC0415 - only where PostgreSQL is in use

    try:
        return driver_of(connection).execute(text.encode(), values, prepare=True, binary=binary)
    except Error as error:
        raise _wrapped(error) from error


def begin(connection: Connection, question: str) -> str:
    """Begin a transaction of PostgreSQL's and ask something, in one message; return the first value.

    The connection must be in the driver's autocommit: else the driver begins by itself, and waits.
    """
    connection.info.pop(_QUESTION, None)
    from psycopg import Error  # noqa: PLC0415 - only where PostgreSQL is in use

    try:
        # Without values, since only such a message may hold several statements.
        cursor = driver_of(connection).execute(f"BEGIN; {question}".encode())
        cursor.nextset()
        return str(cursor.fetchall()[0][0])
    except Error as error:
        raise _wrapped(error) from error


def begin_in_pipeline(connection: Connection, question: str) -> None:
    """Begin a transaction with the next pipeline, in its first message; `begun` has the answer.

    Nothing may be asked before that pipeline. To begin by itself costs as much as a statement.
    """
    from psycopg import Pipeline  # noqa: PLC0415 - only where PostgreSQL is in use

    connection.info[_QUESTION] = question
    if not Pipeline.is_supported():
        _begin_now(connection)


def begun(connection: Connection) -> str:
    """Return the first value that the question of `begin_in_pipeline` was answered with."""
    answer: Answer = connection.info.pop(_BEGUN)
    return str(answer.fetchall()[0][0])


def _begin_now(connection: Connection) -> None:
    question = connection.info.pop(_QUESTION, None)
    if question is not None:
        send(connection, "BEGIN", ())
        connection.info[_BEGUN] = send(connection, question, ())


def plan_anew(connection: Connection) -> None:
    """Let the server forget what it keeps prepared; no transaction may be open."""
    if driver_of(connection).prepare_threshold is not None:
        send(connection, "DEALLOCATE ALL", ())


def driver_of(connection: Connection) -> "psycopg.Connection":
    """Return the driver's connection to PostgreSQL."""
    from psycopg import Connection as Driver  # noqa: PLC0415 - only where PostgreSQL is in use

    driver = connection.connection.driver_connection
    if not isinstance(driver, Driver):
        raise TypeError(f"{driver!r} is no connection to PostgreSQL")
    return driver


def _wrapped(error: "psycopg.Error") -> BaseException:
    """Return a driver's error as SQLAlchemy would have raised it."""
    from psycopg import Error  # noqa: PLC0415 - only where PostgreSQL is in use

    return DBAPIError.instance(None, None, error, Error)
