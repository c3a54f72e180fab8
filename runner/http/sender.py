"""The interface of a sender, and the driver of a dialect's flow."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

from msgspec import Struct

from runner.core.call import Answer, Call, Flow, Reply, Silence

T = TypeVar("T")

Guard = Callable[[], bool]
"""Asked without I/O just before the headers and again before the body leave: may this be sent?"""


class StreamEvent(Struct, frozen=True):
    """One server-sent event: its name ("message" where none was given) and its data."""

    name: str
    data: str


class Sender(Protocol):
    """Sends one call on a connection of its own and returns what came back.

    Never raises for the network. `timeout_s` bounds the whole exchange, connect to last byte.
    `guard` is asked at the last layer; where it says no, nothing leaves: `Silence(False, "guard")`.
    """

    async def send(
        self, call: Call, *, timeout_s: float = 60.0, guard: Guard | None = None
    ) -> Answer:
        """Send one call."""
        ...

    def events(
        self,
        call: Call,
        *,
        timeout_s: float = 60.0,
        idle_s: float = 300.0,
        guard: Guard | None = None,
    ) -> AsyncIterator[StreamEvent | Answer]:
        """Send one call whose answer is an event stream.

        Yields events; then, if the stream broke or the answer was no stream, one `Answer` (a
        `Reply` that is no event stream, or a `Silence`) as the last element. A stream that ended
        in order ends without one. `timeout_s` bounds the wait for the answer's head, `idle_s` the
        wait between bytes.
        """
        ...

    async def hang_up(self) -> None:
        """Close every connection, hard, those with a request under way included; usable again."""
        ...

    async def aclose(self) -> None:
        """Close every connection, hard, for good."""
        ...


class Failed(Struct, frozen=True):
    """A flow that was ended by an answer that is no success; `unreadable` for a useless 2xx."""

    call: Call
    answer: Answer
    unreadable: str = ""


async def drive(
    sender: Sender,
    flow: Flow[T],
    *,
    timeout_s: float = 60.0,
    guard: Guard | None = None,
    unreadable: type[Exception] = ValueError,
    heard: Callable[[Answer], None] | None = None,
) -> T | Failed:
    """Drive a flow to its value, or to the first answer that is no success (not 2xx).

    `unreadable` is the dialect's exception for a 2xx that does not hold what it must. `heard` is
    told of every answer, so that its headers can be learned from.
    """
    try:
        try:
            call = next(flow)
        except unreadable as trouble:
            # A flow that this dialect does not have: nothing was asked, so nothing was answered.
            return Failed(Call("GET", ""), Silence(sent=False, why="guard"), str(trouble))
        while True:
            answer = await sender.send(call, timeout_s=timeout_s, guard=guard)
            if heard is not None:
                heard(answer)
            if isinstance(answer, Silence):
                return Failed(call, answer)
            if not (200 <= answer.status < 300 or call.optional):
                return Failed(call, answer)
            try:
                call = flow.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            except unreadable as trouble:
                return Failed(call, answer, str(trouble) or "unreadable answer")
    finally:
        flow.close()


__all__ = ["Answer", "Failed", "Guard", "Reply", "Sender", "StreamEvent", "drive"]
