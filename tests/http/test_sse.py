"""The parser of server-sent events, on bytes alone."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runner.core.call import Silence
from runner.http.sender import StreamEvent
from runner.http.sse import EventParser

STREAM = (
    b"\xef\xbb\xbf"
    b'event: thread.run.created\r\ndata: {"id":\r\ndata:  "run_1"}\r\n\r\n'
    b": hello\r\nid: 7\rretry: 10\rdata:caf\xc3\xa9 \xe2\x82\xac\r\r"
    b"event: nothing\n\n"
    b"data\n\n"
    b"data: a:b\nunknown: x\n\n"
    b"event: done\ndata: [DONE]\n\n"
)
EVENTS = [
    StreamEvent("thread.run.created", '{"id":\n "run_1"}'),
    StreamEvent("message", "café €"),
    StreamEvent("message", ""),
    StreamEvent("message", "a:b"),
    StreamEvent("done", "[DONE]"),
]


def told(stream: bytes, cuts: list[int]) -> tuple[list[StreamEvent], Silence | None]:
    parser = EventParser()
    events: list[StreamEvent] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        events += parser.feed(stream[start:end])
    return events, parser.finish()


@given(st.lists(st.integers(0, 10_000)))
def test_any_cutting_of_a_stream_tells_the_same_events(cuts: list[int]) -> None:
    assert told(STREAM, cuts) == (EVENTS, None)


def test_a_stream_fed_byte_by_byte_tells_the_same_events() -> None:
    assert told(STREAM, list(range(len(STREAM)))) == (EVENTS, None)


LINES = st.lists(
    st.sampled_from([b"data: a", b"data:", b"event: e", b": c", b"", b"\xff\xfe", b"data: \xc3"])
)


@given(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"]), st.lists(st.integers(0, 10_000)))
def test_the_cuts_never_matter_whatever_the_lines_are(
    lines: list[bytes], end: bytes, cuts: list[int]
) -> None:
    stream = end.join([*lines, b""])
    assert told(stream, cuts) == told(stream, [])


def test_an_event_without_its_blank_line_is_dropped_and_told() -> None:
    for rest in (b"data: tw", b"data: two\n", b"event: x\n", b"dat"):
        events, silence = told(b"data: one\n\n" + rest, [])
        assert events == [StreamEvent("message", "one")]
        assert silence is not None
        assert (silence.sent, silence.why) == (True, "truncated")
