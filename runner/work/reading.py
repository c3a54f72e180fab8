"""A manifest's lines to entries in chunks, read here or by a process of its own.

To check a line costs more than to write it down, and both want the interpreter: in two threads they
take turns. So a large file is read by a child, whose entries come through a pipe, and this process
only writes. The child opens no database and asks no server; where it dies, the manifest broke off,
and the same command goes on.
"""

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

from runner.core.errors import RunnerError, UsageError
from runner.core.model import BadLine, JobSpec
from runner.dialects.dialect import Dialect
from runner.dialects.named import named
from runner.manifest.reader import Check, Remark, read
from runner.manifest.sources import STANDARD_INPUT, BrokenOff, open_manifest

CHUNK = 1000
LARGE = 16 * 1024 * 1024
"""Bytes of a file from which a process of its own is worth its start, a third of a second."""

Entry: TypeAlias = JobSpec | BadLine | Remark
_Told: TypeAlias = tuple[str, str, str, str]


class Recipe(Struct, frozen=True):
    """What checks a line: a dialect by name and options, and whether it is lenient."""

    dialect: str
    options: Mapping[str, str]
    lenient: bool

    def check(self) -> Check:
        """Return the check, made anew from its dialect's name."""
        return check_of(named(self.dialect, self.options), lenient=self.lenient)


def check_of(dialect: Dialect, *, lenient: bool) -> Check:
    """Return a dialect's check of a line; `lenient` passes unknown fields on."""
    return lambda line, fields: dialect.check(line, fields, lenient=lenient)


def is_large(path: str) -> bool:
    """Whether a manifest is a file that is large enough for a process of its own."""
    if path == STANDARD_INPUT:
        return False
    try:
        return Path(path).is_file() and Path(path).stat().st_size >= LARGE
    except OSError:
        return False


def entries(path: str, stdin: BinaryIO, check: Check, longest: int) -> Iterator[Entry]:
    """Yield a manifest's entries in order; `RunnerError` where it breaks off."""
    lines = 0
    try:
        with open_manifest(path, stdin) as source:
            for entry in read(source, check, longest=longest):
                lines = entry.line
                yield entry
    except BrokenOff as broken:
        raise broken.after(lines) from None


def chunks(found: Iterator[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield entries a thousand at a time."""
    chunk: list[Entry] = []
    for entry in found:
        chunk.append(entry)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@contextmanager
def chunks_apart(path: str, recipe: Recipe, longest: int) -> Iterator[Iterator[Sequence[Entry]]]:
    """Have a child read a manifest; gives its entries in chunks, and ends the child."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "runner.work.reading"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A Ctrl-C is this process's to hear.
        start_new_session=True,
    ) as child:
        try:
            yield _heard(child, path, json.dumps([path, longest, asdict(recipe)]).encode())
        finally:
            child.kill()


def _heard(child: "subprocess.Popen[bytes]", path: str, told: bytes) -> Iterator[Sequence[Entry]]:
    if child.stdin is None or child.stdout is None:
        raise TypeError("a child without pipes")
    lines = 0
    try:
        child.stdin.write(told)
        child.stdin.close()
        while True:
            # Our own child wrote it, on a pipe that nobody else has.
            got: list[Entry] | _Told | None = pickle.load(child.stdout)  # noqa: S301
            if got is None:
                return
            if isinstance(got, tuple):
                kind, what, where, remedy = got
                error = UsageError if kind == UsageError.__name__ else RunnerError
                raise error(what, where=where, remedy=remedy)
            lines = got[-1].line
            yield got
    except (EOFError, OSError, pickle.UnpicklingError) as trouble:
        raise RunnerError(
            f"the process that reads it ended; {lines:,} lines were read before",
            where=path,
            remedy="the same command goes on",
        ) from trouble


def main(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Read as the parent tells, and write each chunk down; what ends it is written last."""
    path, longest, recipe = json.load(stdin)
    end: _Told | None = None
    try:
        check = Recipe(**recipe).check()
        for chunk in chunks(entries(path, stdin, check, longest)):
            pickle.dump(chunk, stdout, pickle.HIGHEST_PROTOCOL)
            stdout.flush()
    except RunnerError as error:
        end = type(error).__name__, error.what, error.where, error.remedy
    pickle.dump(end, stdout, pickle.HIGHEST_PROTOCOL)
    stdout.flush()


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        # Its parent is gone: nobody is left to be told.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main(sys.stdin.buffer, sys.stdout.buffer)
