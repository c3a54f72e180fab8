"""What commands share of their words, and how the command that was given is said again."""

import io
import re
import shlex
import sys
from collections.abc import Callable
from typing import Annotated, BinaryIO

import typer

from runner.config import Settings

Manifests = Annotated[
    list[str],
    typer.Argument(
        metavar="MANIFEST…", help="JSONL files, plain, .gz or .zst; - for standard input."
    ),
]
OneBatch = Annotated[
    str | None,
    typer.Argument(metavar="[BATCH]", help="The batch; may be left out where there is one only."),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="CUSTOM_ID", help="Only these jobs.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

_PASSWORD = re.compile(
    # To the last @: one that stands bare in a password must not show what comes after it.
    r"(://[^:/@]*:).*@|((?:^|[?&])(?:ssl)?password=)[^&]*",
    re.DOTALL,
)
_DATABASE = re.compile(r"(--db=)?(postgres.*:.*)", re.DOTALL)


def completing(words: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return what tells a shell which of these words begin as the one being typed does."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def put(*lines: str, flush: bool = True) -> None:
    """Write result lines to stdout; a closed one takes nothing."""
    if sys.stdout is not None:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        if flush:
            sys.stdout.flush()


def standard_input() -> BinaryIO:
    """Return stdin's bytes; none where the caller closed it."""
    return sys.stdin.buffer if sys.stdin is not None else io.BytesIO()


def again() -> str:
    """Return the command as it was given, to be pasted; a password in a URL is left out."""
    return shlex.join(["runner", *map(_without_password, sys.argv[1:])])


def at(settings: Settings) -> str:
    """Return " --db X" where another command must be told of the database, else ""."""
    if settings.sources.get("db") in ("--db", "default") and settings.db != "runner.db":
        return f" --db {shlex.quote(_without_password(settings.db))}"
    return ""


def working(settings: Settings) -> str:
    """Return the same for a command that works: a rehearsal's batch goes on as a rehearsal."""
    return at(settings) + (" --simulate" if settings.simulate else "")


def _without_password(word: str) -> str:
    """Return one word of a command without the password that a URL in it may hold."""
    database = _DATABASE.fullmatch(word)
    if database is not None:
        # Only who reads URLs whole knows each spelling of a password.
        from runner.composition import pasted

        return f"{database[1] or ''}{pasted(database[2])}"
    return _PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", word)
