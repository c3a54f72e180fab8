"""Where a database is: its URL read, and a place refused where SQLite would lose data."""

import re
from pathlib import Path

from msgspec import Struct
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from runner.core.errors import UsageError, quoted

_SHARED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "ncpfs"}
)
_SECRET = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key"})
_SEVERAL = re.compile(r"(\w+(?:\+\w+)?://)([^@/]*@)?([^@/?,]+(?:,[^@/?,]+)+)(/[^?]*)?(?:\?(.*))?")
_CONNINFO = re.compile(r"(?:^|\s)(?:host|hostaddr|dbname|user|password|service)\s*=")
"""How libpq's other form begins: taken for a path, its password would name a file."""
_FORMS = "give a path, sqlite:///PATH or postgresql://USER@HOST/NAME"


class Place(Struct, frozen=True):
    """A database's place: `label` is for people, `again` to be pasted; neither holds a secret.

    `path` is None for PostgreSQL and for a database in memory.
    """

    engine_name: str
    url: URL
    label: str
    path: Path | None
    again: str

    @property
    def in_memory(self) -> bool:
        """Whether the database dies with its one connection."""
        return self.engine_name == "sqlite" and self.path is None


def place_of(text: str) -> Place:
    """Read `--db`; `UsageError` where it names no engine of ours."""
    if text in {":memory:", "sqlite://", "sqlite:///:memory:"}:
        return Place(
            "sqlite", URL.create("sqlite", database=":memory:"), ":memory:", None, ":memory:"
        )
    if text.startswith("sqlite:///"):
        return _file(text.removeprefix("sqlite:///"))
    if text.startswith(("postgresql:", "postgres:")) and "://" not in text:
        raise _unreadable()
    if "://" not in text:
        if _CONNINFO.search(text) and not Path(text).exists():
            raise _unreadable()
        return _file(text)
    if not text.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        # Only the scheme is quoted: what follows may hold a password.
        kind = quoted(text.split(":", maxsplit=1)[0])
        raise UsageError(f"no such kind of database: {kind}", remedy=_FORMS)
    try:
        url = make_url(_with_hosts_apart(text)).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:
        raise (_at_sign() if text.count("@") > 1 else _unreadable()) from error
    if "@" in (url.host or ""):
        # What stands before it is the rest of a password: not told, and no name to be looked up.
        raise _at_sign()
    hosts = url.query.get("host", ())
    told = ",".join([hosts] if isinstance(hosts, str) else hosts)
    plain = URL.create(
        "postgresql",
        url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={"host": told} if told else {},
    )
    again = url.set(
        drivername="postgresql",
        query={name: "***" if name in _SECRET else value for name, value in url.query.items()},
    )
    shown = again.render_as_string(hide_password=True).replace("%2A%2A%2A", "***")
    label = plain.render_as_string().replace("%2F", "/").replace("%2C", ",").replace("%3A", ":")
    return Place("postgresql", url, label, None, shown)


def _with_hosts_apart(text: str) -> str:
    """Return a URL of several hosts (libpq: HOST1:PORT1,HOST2:PORT2) as SQLAlchemy reads them."""
    found = _SEVERAL.fullmatch(text)
    if found is None:
        return text
    head, user, hosts, name, query = found.groups(default="")
    each = [host if ":" in host else f"{host}:5432" for host in hosts.split(",")]
    listed = "&".join([*(f"host={host}" for host in each), *([query] if query else [])])
    return f"{head}{user}{name or '/'}?{listed}"


def _at_sign() -> UsageError:
    return UsageError("the URL's password has an @ in it", where="--db", remedy="write it as %40")


def _unreadable() -> UsageError:
    return UsageError("the database's URL cannot be read", remedy=_FORMS)


def _file(text: str) -> Place:
    if not text:
        raise UsageError("the database has no name", remedy=_FORMS)
    path = Path(text)
    return Place("sqlite", URL.create("sqlite", database=str(path)), str(path), path, str(path))


def shared_file_system(mountinfo: str, path: Path) -> str | None:
    """Return the kind of file system under an absolute path if it is a network's or FUSE's.

    `mountinfo` is the text of /proc/self/mountinfo. SQLite's WAL needs shared memory and locks
    that work, and these do not keep either (sqlite.org/wal.html: "does not work over a network
    filesystem").
    """
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, after = left.split(), right.split()
        if len(fields) < 5 or not after:
            continue
        # A blank in a mount point is written \040 (proc_pid_mountinfo(5)).
        point = Path(fields[4].replace("\\040", " ").replace("\\011", "\t"))
        # The later of two mounts on one point is the one that is seen.
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after[0]
    return kind if kind in _SHARED or kind == "fuse" or kind.startswith("fuse.") else None


def refuse_unusable(path: Path) -> None:
    """Raise `UsageError` where a database file cannot be at `path`."""
    where = str(path)
    if path.is_dir():
        raise UsageError("is a directory", where=where, remedy="give --db a file")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UsageError(
            f"the directory {quoted(parent)} does not exist",
            where=where,
            remedy="make it, or give another --db",
        )
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return
    kind = shared_file_system(mountinfo, path.resolve())
    if kind is not None:
        raise UsageError(
            f"SQLite loses data on a network or FUSE file system ({kind})",
            where=where,
            remedy="use a local path, or --db postgresql://…",
        )
