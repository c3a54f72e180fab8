"""What is asked of an API and what comes back, as values.

A dialect speaks in flows: generators that yield a `Call` and are sent a `Reply`. They hold no I/O,
read straight down, and are driven by `http.sender`. A flow reads as if nothing fails: the driver
ends it at the first answer that is no success, and `core.faults` says what that answer means; only
an `optional` call's answer is the flow's own to judge.
"""

from collections.abc import Generator, Mapping
from typing import TypeVar

from msgspec import Struct, field


class Call(Struct, frozen=True):
    """One request.

    `path` is relative to the base URL, begins with "/" and is already percent-encoded; `query` is
    encoded too ("limit=100&order=desc") or empty. `creates` marks the one kind of request that may
    make a run: it is guarded at the last layer, sent once, and its silence is doubt. `optional`
    marks a question whose refusal ends nothing: the flow is sent the answer, whatever its status.
    """

    method: str
    path: str
    query: str = ""
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    creates: bool = False
    streams: bool = False
    optional: bool = False


class Reply(Struct, frozen=True):
    """A whole answer: status, headers with lower-case names, and the body as it came."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def request_id(self) -> str:
        """The server's name for this exchange, or "" (x-request-id; Azure: apim-request-id)."""
        return self.headers.get("x-request-id") or self.headers.get("apim-request-id", "")


class Silence(Struct, frozen=True):
    """No whole answer came.

    `sent` is False only where it is proven that no byte of the request left us; `why` is one of
    refused, dns, tls, proxy, connect_timeout, guard (not sent: the check at the last layer said no),
    timeout, reset, closed, truncated, garbage, cancelled, unknown. `detail` is for people and holds
    no secret. `timed_out` tells our own time-out, after which the doubt wait is longer.
    """

    sent: bool
    why: str
    detail: str = ""

    @property
    def timed_out(self) -> bool:
        """Whether the silence shows a stall rather than an end."""
        return self.why == "timeout"


Answer = Reply | Silence

T = TypeVar("T")
Flow = Generator[Call, Reply, T]
"""Yields calls, is sent their successful replies (an optional call's: any), returns a T."""
