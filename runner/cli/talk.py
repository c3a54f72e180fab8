"""What is said while work goes on: to stderr only, in the manner that its other end can take.

A moving line only where stderr is a terminal that wants one; elsewhere a plain line every few
seconds, without carriage returns or cursor codes (cases.md C64); with --log-json one object a line.
"""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, TextIO

from runner.config import Settings

if TYPE_CHECKING:
    from runner.core.view import View

DRAWN_EVERY_S = 0.25
"""A moving line is drawn four times a second at most: faster is unreadable and costs CPU."""
TOLD_EVERY_S = 5.0
FIRST_TOLD_S = 1.0
"""The first plain line: a log should show soon that something is happening."""

RED, GREEN, YELLOW = "31", "32", "33"
_CLEAR = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Manner:
    """How to talk: `live` a moving line, `json` one object a line, `quiet` no progress."""

    live: bool = False
    colour: bool = False
    quiet: bool = False
    json: bool = False

    @property
    def every_s(self) -> float:
        """How often the work should say where it stands."""
        return DRAWN_EVERY_S if self.live else FIRST_TOLD_S


def manner_of(settings: Settings, *, terminal: bool) -> Manner:
    """Return how to talk under these settings to a stream that is a terminal, or is none.

    FORCE_COLOR gives colour and never a moving line; NO_COLOR takes both, also where both are set
    (no-color.org: set and not empty). CI systems give their jobs a terminal and keep every redraw.
    """
    env = settings.environ
    plain = bool(env.get("NO_COLOR")) or settings.log_json
    forced = env.get("FORCE_COLOR", "").lower() not in ("", "0", "false", "no")
    # The parent of a worker process tells the progress of all of them.
    quiet = settings.quiet or settings.child
    robot = env.get("CI", "").lower() not in ("", "0", "false", "no") or env.get("TERM") == "dumb"
    return Manner(
        live=terminal and not (plain or robot or quiet),
        colour=not plain and (forced or (terminal and not robot and not quiet)),
        quiet=quiet,
        json=settings.log_json,
    )


@dataclass(slots=True)
class Teller:
    """Says things on a stream, from any thread; a moving line is never torn by another.

    `now_s` is a steady clock, `wall_s` unix time for --log-json, `width` the columns there are.
    """

    stream: TextIO
    manner: Manner
    now_s: Callable[[], float]
    wall_s: Callable[[], float]
    width: Callable[[], int] = lambda: 80
    _lock: Lock = field(default_factory=Lock)
    _views: dict[str, "View"] = field(default_factory=dict)
    _drawn: str = ""
    _due_s: float = 0.0
    _counted: int = 0

    def warn(self, line: str) -> None:
        """Say what went wrong or needs attention; --quiet keeps it."""
        self._say("warning", line, YELLOW, word="warning: ")

    def fail(self, line: str) -> None:
        """Say why the command ends."""
        self._say("error", line, RED)

    def say(self, lines: Iterable[str], colour: str = "", **figures: object) -> None:
        """Say the end; with --log-json as one object that holds `figures` too."""
        with self._lock:
            self._wipe()
            if self.manner.json:
                self._put_json("info", "summary", text="\n".join(lines), **figures)
                return
            for number, line in enumerate(lines):
                self._put(self._painted(line, colour if number == 0 else ""))

    def tick(self, view: "View") -> None:
        """Show where the work stands; as often as the manner allows, whatever the caller does."""
        if self.manner.quiet:
            return
        from runner.cli.screen import as_mapping, progress_line, together

        with self._lock:
            self._views[view.progress.batch] = view
            if self._early():
                return
            whole = together(list(self._views.values()))
            if self.manner.json:
                self._put_json("info", "progress", **as_mapping(whole))
            else:
                self._show(progress_line(whole, self.width() - 1 if self.manner.live else 500))

    def counted(self, lines: int) -> None:
        """Show that so many more lines were queued."""
        if self.manner.quiet:
            return
        with self._lock:
            self._counted += lines
            if self._views or self._early():
                return
            if self.manner.json:
                self._put_json("info", "queueing", lines=self._counted)
            else:
                self._show(f"queueing: {self._counted:,} lines")

    def copied(self, done: int, total: int) -> None:
        """Show how many jobs of all were copied."""
        with self._lock:
            if self.manner.quiet or self._early():
                return
            if self.manner.json:
                self._put_json("info", "copying", done=done, total=total)
            else:
                self._show(f"copying: {done:,}/{total:,} jobs")

    def rest(self) -> None:
        """Take the moving line away: the terminal belongs to others again."""
        with self._lock:
            self._wipe()

    def _early(self) -> bool:
        now = self.now_s()
        if now < self._due_s:
            return True
        self._due_s = now + (DRAWN_EVERY_S if self.manner.live else TOLD_EVERY_S)
        return False

    def _show(self, line: str) -> None:
        if self.manner.live:
            self._write(f"{_CLEAR}{line}")
            self._drawn = line
        else:
            self._put(line)

    def _say(self, level: str, line: str, colour: str, *, word: str = "") -> None:
        with self._lock:
            if self.manner.json:
                self._put_json(level, level, text=line)
                return
            drawn = self._drawn
            self._wipe()
            self._put(self._painted(f"runner: {word}{line}", colour))
            if drawn:
                self._show(drawn)

    def _wipe(self) -> None:
        if self._drawn:
            self._write(_CLEAR)
            self._drawn = ""

    def _painted(self, line: str, colour: str) -> str:
        return f"\x1b[{colour}m{line}\x1b[0m" if self.manner.colour and colour else line

    def _put_json(self, level: str, event: str, **figures: object) -> None:
        moment = datetime.fromtimestamp(self.wall_s(), UTC).isoformat(timespec="milliseconds")
        told = {"time": moment.replace("+00:00", "Z"), "level": level, "event": event}
        self._put(json.dumps({**told, **figures}))

    def _put(self, line: str) -> None:
        self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (BrokenPipeError, ValueError):
            # Whoever read stderr is gone; the jobs go on all the same.
            self.stream = _nowhere()


def _nowhere() -> TextIO:
    from io import StringIO

    class Nowhere(StringIO):
        def write(self, text: str, /) -> int:
            return len(text)

    return Nowhere()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is there and is a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def standard_error() -> TextIO:
    """Return stderr, or a stream that leads nowhere where the caller closed it."""
    return sys.stderr if sys.stderr is not None else _nowhere()
