"""A private PostgreSQL server for tests: found on this machine, never installed."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

_NUMBERS = itertools.count()


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, the newest release's; None where there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda folder: int(folder.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class PostgresServer:
    """A server of its own data directory and port; `url` names a database of it.

    `options` stand after its own, and so before them in force.
    """

    def __init__(self, bin_folder: Path, options: str = "") -> None:
        self._bin = bin_folder
        self._options = options
        # A short path: a socket's may have no more than about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="rpg-"))
        self.port = free_port()
        if os.getuid() == 0:
            # The server refuses root.
            shutil.chown(self.folder, "postgres")
        self.folder.chmod(0o700)
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = (
            f"-k {self.folder} -p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
            f" -c shared_buffers=32MB -c max_connections=60 {self._options}"
        )
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._run("pg_ctl", "-D", data, "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; "immediate" is what a crash leaves."""
        data = str(self.folder / "data")
        self._run("pg_ctl", "-D", data, "-w", "-t", "60", "-m", mode, "stop")

    def freeze(self) -> None:
        """Stop all its processes as they are: whoever asks hears nothing, and no error either."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, number)

    def remove(self) -> None:
        """Stop it and remove all of it."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def fresh(self, template: str = "template0") -> str:
        """Make a database, empty or a copy of another, and return its address."""
        name = f"t{os.getpid()}_{next(_NUMBERS)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = sql.Identifier(url.rpartition("/")[2])
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run(
            [*as_user, str(self._bin / program), *arguments],
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=90,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
