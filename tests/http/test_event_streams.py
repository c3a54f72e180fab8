"""Following an answer that is a stream of events."""

import anyio
import pytest
from broken_server import RUN, BrokenServer

from runner.core.call import Answer, Call, Reply, Silence
from runner.http.sender import Sender, StreamEvent

pytestmark = pytest.mark.anyio

SHORT_S = 0.25
ONE = StreamEvent("message", "one")


def stream(way: str) -> Call:
    return Call("POST", f"/threads/t/{way}", body=b'{"stream":true}', creates=True, streams=True)


async def heard(sender: Sender, way: str, idle_s: float = 10.0) -> list[StreamEvent | Answer]:
    return [told async for told in sender.events(stream(way), timeout_s=10.0, idle_s=idle_s)]


async def test_a_stream_that_ends_in_order_tells_its_events_and_no_more(
    sender: Sender, server: BrokenServer
) -> None:
    for _ in range(2):
        assert await heard(sender, "stream") == [
            StreamEvent("thread.run.created", '{"id":"run_1"}'),
            StreamEvent("done", "[DONE]"),
        ]
    assert server.requests[0].header("accept") == "text/event-stream"
    assert len(server.lines) == 1


@pytest.mark.parametrize(
    ("way", "whys"),
    [
        ("stream_cut", {"truncated"}),
        ("stream_half_event", {"truncated"}),
        ("stream_stalls", {"timeout"}),
    ],
)
async def test_a_stream_that_breaks_ends_with_a_silence(
    sender: Sender, way: str, whys: set[str]
) -> None:
    *events, last = await heard(sender, way, SHORT_S)
    assert events == [ONE]
    assert isinstance(last, Silence)
    assert last.sent
    assert last.why in whys


async def test_a_stream_that_is_reset_ends_with_a_silence(
    sender: Sender, server: BrokenServer
) -> None:
    told: list[StreamEvent | Answer] = []
    async for event in sender.events(stream("stream_reset")):
        told.append(event)
        server.go_on()
    assert told[0] == ONE
    assert isinstance(told[1], Silence)
    assert (told[1].sent, told[1].why) in {(True, "reset"), (True, "truncated")}


@pytest.mark.parametrize(
    ("way", "status", "body"), [("ok", 200, RUN), ("refuses", 429, b'{"error":{}}')]
)
async def test_an_answer_that_is_no_stream_is_told_as_it_is(
    sender: Sender, way: str, status: int, body: bytes
) -> None:
    (answer,) = await heard(sender, way)
    assert isinstance(answer, Reply)
    assert (answer.status, answer.body) == (status, body)


async def test_no_answer_to_a_stream_is_doubt_after_the_time_out(sender: Sender) -> None:
    (answer,) = [x async for x in sender.events(stream("never"), timeout_s=SHORT_S)]
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (True, "timeout")


async def test_a_guard_stops_a_stream_before_it_leaves(
    sender: Sender, server: BrokenServer
) -> None:
    told = [x async for x in sender.events(stream("stream"), guard=lambda: False)]
    assert told == [Silence(sent=False, why="guard")]
    assert (await server.an_end()).arrived == 0


async def test_leaving_a_stream_resets_its_connection(sender: Sender, server: BrokenServer) -> None:
    with anyio.fail_after(10):
        told = sender.events(stream("stream_stalls"))
        assert await anext(told) == ONE
        await told.aclose()  # type: ignore[attr-defined] # both are generators
    assert (await server.an_end()).ended == "reset"
