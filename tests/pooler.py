"""A private PgBouncer in transaction mode before a PostgreSQL: found on this machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from threading import Event
from typing import Self

import psycopg
from postgres_server import PostgresServer, free_port

SERVER_CONNECTIONS = 2
"""Fewer than its clients have, so that each transaction may meet another session."""


def program() -> str | None:
    """Return where it is; None where there is none."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")  # noqa: TID251


class Pooler:
    """It ends with its context."""

    def __init__(self, found: str, server: PostgresServer) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="rpb-"))
        (self._folder / "users").write_text('"postgres" ""\n')
        (self._folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            f"unix_socket_dir =\nauth_type = trust\nauth_file = {self._folder}/users\n"
            f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\n"
        )
        words = [found, str(self._folder / "ini")]
        if os.getuid() == 0:
            # It refuses root.
            shutil.chown(self._folder, "postgres")
            words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *words]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def url(self, direct: str) -> str:
        """Return the way through the pooler to the database of a server's URL."""
        name = direct.rpartition("/")[2]
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> Self:
        pause = Event()
        for _ in range(200):
            try:
                psycopg.connect(self.url("/postgres")).close()
            except psycopg.OperationalError:
                pause.wait(0.05)
            else:
                return self
        raise RuntimeError(f"PgBouncer did not come up: {self._end()}")

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> str:
        self._process.kill()
        said = self._process.communicate()[1]
        shutil.rmtree(self._folder, ignore_errors=True)
        return said
