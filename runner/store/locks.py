"""Operating-system locks that die with their process: how a dead worker is told from a silent one.

Held by flock on a file of its own, opened not inheritable: a child that inherits it would keep a
dead worker alive (protocol.md section 6).
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

from runner.core.errors import UsageError
from runner.store.place import Place


class Lock:
    """A lock that is held."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self._number = number

    def free(self) -> None:
        """Remove the file and let go of it."""
        # Windows removes no file that is open; elsewhere the name goes first, so that nobody
        # finds a free file of a worker that has left.
        if sys.platform == "win32":
            os.close(self._number)
        with contextlib.suppress(OSError):
            self.path.unlink()
        if sys.platform != "win32":
            os.close(self._number)

    def drop(self) -> None:
        """Let go of it and leave the file, for the next that looks."""
        os.close(self._number)


def folder_of(place: Place) -> Path:
    """Return where the locks of a database's workers are on this machine."""
    if place.path is not None:
        return Path(f"{place.path.absolute()}.locks")
    user = os.getuid() if sys.platform != "win32" else 0
    return Path(tempfile.gettempdir()) / f"runner-locks-{user}"


def hold(path: Path) -> Lock:
    """Make a lock's file and hold it; `UsageError` where no file can be made."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    if not _taken(number):
        os.close(number)
        raise AssertionError(f"{path} was just made and is held by another")
    return Lock(path, number)


def try_hold(path: Path) -> Lock | None:
    """Hold a lock if its file is there and free; None where it is held, or where nobody can say.

    A missing file proves nothing: another container may see another folder.
    """
    try:
        number = os.open(path, os.O_RDWR)
    except OSError:
        return None
    if _taken(number):
        return Lock(path, number)
    os.close(number)
    return None


@contextlib.contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Hold a lock that others hold for moments, and wait for it; its file stays."""
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        if sys.platform == "win32":
            msvcrt.locking(number, msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def is_held(path: Path) -> bool:
    """Whether the lock's file is there and somebody holds it."""
    if not path.exists():
        return False
    lock = try_hold(path)
    if lock is None:
        return path.exists()
    lock.drop()
    return False


def _unwritable(path: Path, error: OSError) -> UsageError:
    why = (error.strerror or str(error)).lower()
    return UsageError(why, where=str(path), remedy="make its directory writable")


def _taken(number: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
