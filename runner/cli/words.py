"""How figures, times and other people's texts are written for a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime


def shown(text: str, longest: int = 200) -> str:
    """Return a text as one line that cannot move a cursor, cut at `longest` characters.

    Names and messages come from files and servers: an escape sequence in one must not reach the
    terminal.
    """
    line = " ".join(text.split())
    safe = line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)
    return safe if len(safe) <= longest else f"{safe[: longest - 3]}..."


def span(seconds: float) -> str:
    """Return a time for people: "0.4 s", "12 s", "3 min 33 s", "5 h 12 min", "3 d 4 h"."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    for large, name, small, part in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large:,} {name}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def pace(per_s: float) -> str:
    """Return a rate: by the second, or by the minute where that is more than a fraction."""
    return f"{per_s:,.1f}/s" if per_s >= 1 else f"{per_s * 60:,.1f}/min"


def moment(unix_ms: int) -> str:
    """Return unix milliseconds as UTC, "2026-03-01 02:03:04Z"; "-" for 0 (never)."""
    if unix_ms <= 0:
        return "-"
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(unix_ms)


def jobs(count: int) -> str:
    """Return "1 job", "2,000 jobs"."""
    return many(count, "job")


def many(count: int, noun: str) -> str:
    """Return a count with its noun, "1 run", "2,000 runs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def columns(rows: Sequence[tuple[str, ...]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Return rows as lines whose columns stand under each other; those in `right` to the right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
