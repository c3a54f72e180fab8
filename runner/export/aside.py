"""A file that appears whole or not at all: written aside, flushed to the disk, renamed.

A reader, a kill and a full disk meet the old file or the new one, never a half. What cannot be
renamed (standard output, a pipe, a device) is written straight.
"""

import errno
import fcntl
import io
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from runner.core.errors import RunnerError, Stopped, UsageError
from runner.core.points import Point, Reach, pass_by

_BUFFER = 1 << 20  # bytes; a write is then one system call for about a thousand rows
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


class _ReaderGoneError(Exception):
    """Whoever read our output has closed it (`… | head`): no mistake, and nothing to tell."""


def aside(out: str, reach: Reach = pass_by) -> AbstractContextManager[BinaryIO]:
    """Return a context manager that gives the file to write.

    On a good end the target is the new file, durably; on any other it is as it was, and nothing
    lies beside it. The target's permissions and a symbolic link to it are kept. Straight targets
    (`is_straight`) keep what was written; a reader that closes the pipe ends the block quietly.

    Raises `UsageError` where the target cannot be written, `Stopped` where the disk is full.
    """
    check_target(out)
    return _straight(out) if is_straight(out) else _renamed(out, reach)


def is_straight(out: str) -> bool:
    """Whether a target is written straight: "-", a descriptor, a pipe, a device."""
    if out in {"-", "/dev/stdout"} or _DESCRIPTOR.fullmatch(out):
        return True
    try:
        mode = os.stat(out).st_mode  # noqa: PTH116  # Path("") would be the working folder
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_target(out: str) -> None:
    """Raise `UsageError` for a target that could not be written: asked before any work is done."""
    if not out:
        raise UsageError("no file is named", where="--out", remedy="name a file, or - for stdout")
    if out in {"-", "/dev/stdout"} or _DESCRIPTOR.fullmatch(out):
        return
    target = _real(out)
    folder = target.parent
    if out.endswith("/") or target.is_dir():
        raise UsageError("is a folder", where=out, remedy="name a file in it")
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'", where=out, remedy="make it first")
    exists = target.exists()
    if exists and not os.access(target, os.W_OK):
        raise UsageError("is not writable", where=out, remedy="change its permissions")
    if not is_straight(out) and not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"the folder '{folder}' is not writable",
            where=out,
            remedy="results are written beside the file and renamed; choose another folder",
        )


@contextmanager
def part_file(folder: Path, name: str, *, told: str) -> Iterator[BinaryIO]:
    """Give an unfinished file in a folder, gone at the end of the block unless it was renamed.

    A kill leaves it behind: hidden, and locked only while its process lived, so that the next
    export to the same name knows it for dead and removes it. `told` is the target in errors.
    """
    _remove_dead(folder, name)
    with _open_part(folder, name, told) as part:
        try:
            yield part
        finally:
            Path(part.name).unlink(missing_ok=True)


@contextmanager
def _renamed(out: str, reach: Reach) -> Iterator[BinaryIO]:
    target = _real(out)
    with part_file(target.parent, target.name, told=out) as part:
        with suppress(OSError):
            os.fchmod(part.fileno(), stat.S_IMODE(target.stat().st_mode))
        yield part
        part.flush()
        _durable(part.fileno(), out)
        reach(Point.EXPORT_BEFORE_RENAME)
        try:
            Path(part.name).replace(target)
        except OSError as trouble:
            raise _told(trouble, out) from trouble
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            # Network file systems refuse to sync a folder; the rename then is as durable as theirs.
            with suppress(OSError):
                os.fsync(folder)
        finally:
            os.close(folder)
        reach(Point.EXPORT_AFTER_RENAME)


@contextmanager
def _straight(out: str) -> Iterator[BinaryIO]:
    if sys.stdout is not None:
        sys.stdout.flush()
    # A descriptor of our own: when the reader is gone, what stays in this buffer dies with it,
    # where sys.stdout's would be flushed at exit and fail loudly with exit code 120.
    descriptor = _DESCRIPTOR.fullmatch(out)
    try:
        if out in {"-", "/dev/stdout"}:
            fd = os.dup(1)
        elif descriptor:
            fd = os.dup(int(descriptor[1]))
        else:
            fd = os.open(out, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as trouble:
        raise _told(trouble, out) from trouble
    with suppress(_ReaderGoneError), _closing(_TellingFile(fd, out)) as sink:
        yield sink
        sink.flush()


class _TellingFile(io.FileIO):
    """A file whose troubles in writing are told in a person's words."""

    def __init__(self, fd: int, told: str, path: str | None = None) -> None:
        super().__init__(fd, "wb")
        self._told = told
        if path is not None:
            self.name = path

    def write(self, chunk: object, /) -> int:
        try:
            return super().write(chunk)  # type: ignore[arg-type]  # whatever BufferedWriter hands on
        except BrokenPipeError as trouble:
            raise _ReaderGoneError from trouble
        except OSError as trouble:
            raise _told(trouble, self._told) from trouble


@contextmanager
def _closing(raw: _TellingFile) -> Iterator[BinaryIO]:
    sink = io.BufferedWriter(raw, _BUFFER)
    try:
        yield sink
    finally:
        # What is still unflushed here belongs to a block that failed; the disk may be full still.
        with suppress(OSError, RunnerError, _ReaderGoneError):
            sink.close()


def _open_part(folder: Path, name: str, told: str) -> AbstractContextManager[BinaryIO]:
    while True:
        path = folder / f"{_stem(name)}{secrets.token_hex(8)}.part"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as trouble:
            raise _told(trouble, told) from trouble
        with suppress(OSError):  # a file system without locks: dead parts stay, nothing else
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return _closing(_TellingFile(fd, told, str(path)))
        os.close(fd)  # taken for dead between our two calls


def _remove_dead(folder: Path, name: str) -> None:
    pattern = re.compile(re.escape(_stem(name)) + r"[0-9a-f]{16}\.part")
    with suppress(OSError):
        for path in folder.iterdir():
            if pattern.fullmatch(path.name):
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    with suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(fd)


def _stem(name: str) -> str:
    return f".{name[:50]}."  # 50 characters are at most 200 of the 255 bytes of a name


def _real(out: str) -> Path:
    # Renaming onto a symbolic link would replace the link, not what it names.
    try:
        return Path(os.path.realpath(out))
    except (OSError, ValueError) as trouble:
        raise UsageError("is no path", where=out, remedy="name a file") from trouble


def _durable(fd: int, out: str) -> None:
    try:
        os.fsync(fd)
    except OSError as trouble:
        raise _told(trouble, out) from trouble


def _told(trouble: OSError, out: str) -> RunnerError:
    where = "standard output" if out == "-" else out
    if trouble.errno in _FULL:
        return disk_full(where)
    return UsageError(
        f"cannot be written: {(trouble.strerror or str(trouble)).lower()}",
        where=where,
        remedy="name another file with --out",
    )


def disk_full(where: str) -> Stopped:
    """Return what is raised when the results have no room."""
    return Stopped(
        "disk full, or a quota reached: the results were not written",
        where=where,
        remedy="make room and give the same command again",
    )
