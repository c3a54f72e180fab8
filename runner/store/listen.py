"""PostgreSQL's LISTEN and NOTIFY: a worker hears at once what was committed on another host.

A notification says only that there is something to look for, never what: who does not hear it
looks by itself, a little later. So it may be lost, and behind a pooler it is not even asked for:
there LISTEN would stay with a session that is then others' (pgbouncer.org/features.html).
"""

import contextlib
import selectors
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from runner.store.engine import POOLED
from runner.store.light import LightWriter

if TYPE_CHECKING:
    import psycopg

AGAIN_S = 1.0
"""So often a lost connection is made anew, and the end is looked for."""

_LISTEN = text("LISTEN runner")
_NOTIFY = text("SELECT pg_notify('runner', '')")


def tell_others(connection: Connection) -> None:
    """Wake the workers of other hosts once this transaction is committed; nothing on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.execute(_NOTIFY)


class Listener:
    """Hears notifications in a thread of its own, on the light writer's connection."""

    def __init__(self, light: LightWriter, heard: Callable[[], None]) -> None:
        self._light = light
        self._heard = heard
        self._closed = threading.Event()
        self._listening: Connection | None = None
        self._pooled = False
        self._thread = threading.Thread(target=self._run, name="runner-listen", daemon=True)
        self._thread.start()

    @property
    def hears(self) -> bool:
        """Whether a notification would be heard now."""
        return self._listening is not None

    def close(self) -> None:
        """End the thread; the connection stays the light writer's."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not (self._closed.is_set() or self._pooled):
            try:
                number = self._ready()
            except DBAPIError:
                number = -1
            if number < 0:
                self._listening = None
                self._closed.wait(AGAIN_S)
            elif not self._pooled:
                self._wait(number)

    def _ready(self) -> int:
        """Return the number of the socket that notifications come by, -1 where there is none."""
        if not self._light.open_again():
            return -1
        with self._light.held() as connection:
            if connection is None:
                return -1
            driver = _driver(connection)
            if connection is not self._listening:
                self._begin(connection, driver)
            return driver.fileno()

    def _begin(self, connection: Connection, driver: "psycopg.Connection") -> None:
        if connection.info[POOLED]:
            self._pooled = True
            return
        with connection.begin():
            connection.execute(_LISTEN)
        driver.add_notify_handler(lambda _notify: self._heard())
        self._listening = connection
        # What was told between two connections was heard by nobody.
        self._heard()

    def _wait(self, number: int) -> None:
        """Wait until the socket has something to read, then hear what is in it."""
        # An error: closed meanwhile by whoever found the connection lost.
        with selectors.DefaultSelector() as selector, contextlib.suppress(ValueError, OSError):
            selector.register(number, selectors.EVENT_READ)
            if not selector.select(AGAIN_S):
                return
        with self._light.held() as connection:
            if connection is None or connection is not self._listening:
                return
            lost = connection if not self._drain(_driver(connection)) else None
        if lost is not None:
            # Found here first, since nobody asked anything meanwhile.
            self._light.forget(lost)

    def _drain(self, driver: "psycopg.Connection") -> bool:
        """Hear all that has come; False where the connection is lost."""
        from psycopg import OperationalError  # noqa: PLC0415 - only where PostgreSQL is in use

        try:
            driver.pgconn.consume_input()
        except OperationalError:
            return False
        heard = False
        while driver.pgconn.notifies() is not None:
            heard = True
        if heard:
            self._heard()
        return True


def _driver(connection: Connection) -> "psycopg.Connection":
    from psycopg import Connection as Driver  # noqa: PLC0415 - only where PostgreSQL is in use

    driver = connection.connection.driver_connection
    if not isinstance(driver, Driver):
        raise TypeError(driver)
    return driver
