"""The records, and the append-only file of them by which a killed server knows every run again.

A line is one record as it stands after a change; the last line of an id wins. Lines are handed to
the kernel before the answer goes out, so a SIGKILL loses nothing; a power cut may (no fsync: it
simulates a server, it is none). A torn last line is left out: its request was never answered.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import msgspec

if sys.platform != "win32":
    import fcntl

ENDING_S, PAUSE_S = 5.0, 0.05
"""So long a simulator may take to end whose command was killed; looked at so often."""

# "Nothing": msgspec decodes `Raw | None` as null only.
NULL = msgspec.Raw(b"null")


class ThreadRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A thread's own fields; metadata and tool_resources as the JSON that was sent."""

    id: str
    created: float
    metadata: msgspec.Raw = NULL
    tool_resources: msgspec.Raw = NULL
    deleted: bool = False


class MessageRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A message that a client added; `content` in the form of answers, `text` for the reply."""

    id: str
    thread_id: str
    created: float
    role: str
    content: msgspec.Raw
    text: str = ""
    attachments: msgspec.Raw = NULL
    metadata: msgspec.Raw = NULL


class RunRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, eq=False):
    """A run, small: `body` is the create body as it came, from which its object is drawn.

    Times are unix seconds, 0 for "not yet". `rounds` are the tool rounds still to come, `turn`
    the rounds asked so far, `taken` the (call id, output) pairs of each answered round. `due` is
    when it changes by itself next.
    """

    id: str
    thread_id: str
    created: float
    body: msgspec.Raw
    starts: float = 0.0
    ends: float = 0.0
    expires: float = 0.0
    started: float = 0.0
    rested: float = 0.0
    cancel_at: float = 0.0
    due: float = 0.0
    status: str = "queued"
    end: str = "completed"
    rounds: int = 0
    calls: int = 1
    turn: int = 0
    taken: list[list[tuple[str, str]]] = []
    metadata: msgspec.Raw = NULL  # where modified, or dropped ({}); else the body's
    tag: str = ""
    key: str = ""
    case: str = ""
    deleted: bool = False


class Line(msgspec.Struct, omit_defaults=True):
    """One line of the journal: one of its members is set."""

    thread: ThreadRecord | None = None
    run: RunRecord | None = None
    message: MessageRecord | None = None


@dataclass(slots=True)
class Memory:
    """What a journal holds, by id, in the order of first mention."""

    threads: dict[str, ThreadRecord] = field(default_factory=dict)
    runs: dict[str, RunRecord] = field(default_factory=dict)
    messages: dict[str, MessageRecord] = field(default_factory=dict)


class Journal:
    """The file, of this simulator alone; OSError where it cannot be opened or is another's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = _alone(path.with_name(path.name + ".lock"))
        self._file = path.open("ab", buffering=0)
        self._encode = msgspec.json.Encoder().encode

    def write(self, line: Line) -> None:
        """Append one record; when this returns, only the machine's death can lose it."""
        text = self._spell(line)
        while text:  # a full disk or a signal may take a part only
            text = text[self._file.write(text) :]

    def read(self) -> Memory:
        """Return all records; ValueError if a line other than a torn last one is no record.

        `rewrite` must follow before anything is written: it takes a torn line away.
        """
        memory = Memory()
        decode = msgspec.json.Decoder(Line).decode
        with self._path.open("rb") as lines:
            for number, text in enumerate(lines, 1):
                if not text.endswith(b"\n"):
                    break
                try:
                    line = decode(text)
                except msgspec.DecodeError as error:
                    raise ValueError(f"{self._path}:{number}: no record: {error}") from error
                _remember(memory, line)
        return memory

    def rewrite(self, lines: Iterable[Line]) -> None:
        """Replace the file by `lines`, written aside and renamed."""
        aside = self._path.with_name(self._path.name + ".new")
        with aside.open("wb") as file:
            file.writelines(self._spell(line) for line in lines)
        aside.replace(self._path)
        self._file.close()
        self._file = self._path.open("ab", buffering=0)

    def _spell(self, line: Line) -> bytes:
        # A body may be pretty-printed: its line breaks lie between tokens, never inside a string.
        return self._encode(line).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"

    def close(self) -> None:
        """Close the file, and let others have it."""
        self._file.close()
        if self._lock is not None:
            os.close(self._lock)


def _alone(path: Path) -> int | None:
    """Hold a lock that dies with this process; waits for one that is just ending. None: no locks."""
    if sys.platform == "win32":
        return None
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    pause = Event()
    for _ in range(int(ENDING_S / PAUSE_S)):
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pause.wait(PAUSE_S)
        else:
            return number
    os.close(number)
    raise OSError(
        f"another simulator keeps its runs in {path.with_suffix('').name}: wait for its end"
    )


def _remember(memory: Memory, line: Line) -> None:
    if line.run is not None:
        memory.runs[line.run.id] = line.run
    elif line.thread is not None:
        memory.threads[line.thread.id] = line.thread
    elif line.message is not None:
        memory.messages[line.message.id] = line.message
