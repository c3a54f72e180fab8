"""Server-sent events, bytes in, events out: pure and incremental.

Follows the WHATWG specification of `text/event-stream` (HTML, section 9.2.6): lines end by CR LF,
LF or CR; a line that begins with a colon is a comment; several `data` lines make one text; an event
ends at a blank line. `id` and `retry` are read and left alone, since no API here resumes a stream.
"""

import re
from collections.abc import Mapping

from runner.core.call import Silence
from runner.http.sender import StreamEvent

LINE_END = re.compile(rb"\r\n|\n|\r")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DEFAULT_NAME = "message"


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Say whether an answer's head announces an event stream."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return 200 <= status < 300 and kind == "text/event-stream"


class EventParser:
    """Turns the chunks of one stream into its events, however the chunks are cut.

    Bytes are decoded a whole line at a time, so a character split across chunks stays whole; a byte
    that is no UTF-8 becomes U+FFFD, as the specification says.
    """

    __slots__ = ("_after_cr", "_begun", "_data", "_name", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._after_cr = False
        self._begun = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """Take the next bytes and return the events that they complete."""
        if not chunk:
            return []
        # A CR ended the last chunk and its line; a LF right after it is the other half of that end.
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        *lines, self._tail = LINE_END.split(self._tail + chunk)
        events: list[StreamEvent] = []
        for line in lines:
            event = self._take(line)
            if event is not None:
                events.append(event)
        return events

    def finish(self) -> Silence | None:
        """End the stream; return a silence if it ended inside an event, else None.

        The specification drops an event without its blank line, since half of its data may be
        missing; so do we, but it is told.
        """
        if self._tail or self._data or self._name:
            return Silence(sent=True, why="truncated", detail="the stream ended inside an event")
        return None

    def _take(self, line: bytes) -> StreamEvent | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line:
            return self._complete()
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if field == b"data":
            self._data.append(text)
        elif field == b"event":
            self._name = text
        return None

    def _complete(self) -> StreamEvent | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        # An event without a data line is not told (the specification's step 2 of dispatching).
        return StreamEvent(name or DEFAULT_NAME, "\n".join(data)) if data else None
