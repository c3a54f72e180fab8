"""The records, and the append-only file of them by which a killed server knows every run again.

A line is one record as it stands after a change; the last line of an id wins. Lines are handed to
the kernel before the answer goes out, so a SIGKILL loses nothing; a power cut may (no fsync: it
simulates a server, it is none). A torn last line is cut off: its request was never answered.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec


class ThreadRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A thread's own fields; metadata and tool_resources as the JSON that was sent."""

    id: str
    created: float
    metadata: msgspec.Raw | None = None
    tool_resources: msgspec.Raw | None = None
    deleted: bool = False


class MessageRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A message that a client added; `content` in the form of answers, `text` for the reply."""

    id: str
    thread_id: str
    created: float
    role: str
    content: msgspec.Raw
    text: str = ""
    attachments: msgspec.Raw | None = None
    metadata: msgspec.Raw | None = None


class RunRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A run, small: `body` is the create body as it came, all else a run object needs is drawn from it.

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
    metadata: msgspec.Raw | None = None  # where modified, or dropped ({}); else the body's
    tag: str = ""
    key: str = ""
    case: str = ""


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
    """The file; OSError where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._encode = msgspec.json.Encoder().encode

    def write(self, line: Line) -> None:
        """Append one record; when this returns, only the machine's death can lose it."""
        # A body may be pretty-printed: its line breaks lie between tokens, never inside a string.
        text = self._encode(line).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"
        while text:  # a full disk or a signal may take a part only
            text = text[self._file.write(text) :]

    def read(self) -> Memory:
        """Return all records; ValueError if a line other than a torn last one is no record."""
        memory = Memory()
        decode = msgspec.json.Decoder(Line).decode
        whole = 0
        with self._path.open("rb") as lines:
            for number, text in enumerate(lines, 1):
                if not text.endswith(b"\n"):
                    break
                try:
                    line = decode(text)
                except msgspec.DecodeError as error:
                    raise ValueError(f"{self._path}:{number}: no record: {error}") from error
                whole += len(text)
                _remember(memory, line)
        os.truncate(self._path, whole)
        return memory

    def rewrite(self, lines: Iterable[Line]) -> None:
        """Replace the file by `lines`, written aside and renamed."""
        aside = self._path.with_name(self._path.name + ".new")
        kept, self._file = self._file, aside.open("wb", buffering=1 << 20)  # type: ignore[assignment]
        for line in lines:
            self.write(line)
        self._file.close()
        aside.replace(self._path)
        kept.close()
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _remember(memory: Memory, line: Line) -> None:
    if line.run is not None:
        memory.runs[line.run.id] = line.run
    elif line.thread is not None:
        memory.threads[line.thread.id] = line.thread
    elif line.message is not None:
        memory.messages[line.message.id] = line.message
