"""What both senders say of each answer, whole or broken, and of a connection never made."""

import socket
import ssl
from collections.abc import Callable, Iterator

import anyio
import pytest
from broken_server import RUN, BrokenServer

from runner.core.call import Call, Flow, Reply, Silence
from runner.http.route import Route
from runner.http.sender import Failed, Sender, drive

pytestmark = pytest.mark.anyio

BODY = b'{"assistant_id":"asst_1"}'
SHORT_S = 0.25


def create(way: str, body: bytes = BODY) -> Call:
    return Call("POST", f"/threads/thread_1/{way}", body=body, creates=True)


def read(way: str, query: str = "") -> Call:
    return Call("GET", f"/threads/thread_1/{way}", query=query)


def reply(answer: Reply | Silence) -> Reply:
    assert isinstance(answer, Reply), answer
    return answer


@pytest.mark.parametrize("odd", ["a b", "a\r\nx-other: 1", "a\x00"])
async def test_what_would_break_out_of_a_requests_line_is_never_sent(
    sender: Sender, server: BrokenServer, odd: str
) -> None:
    answer = await sender.send(create(odd))
    assert isinstance(answer, Silence)
    assert not answer.sent
    assert server.requests == []


BROKEN = {
    "close_after_reading": {"closed"},
    "reset_after_reading": {"reset"},
    "half_a_head": {"closed", "garbage"},
    "truncated_length": {"truncated"},
    "truncated_chunk": {"truncated"},
    "missing_last_chunk": {"truncated"},
    "reset_in_body": {"reset", "truncated"},
    "garbage": {"garbage"},
    "bad_chunk": {"garbage", "truncated"},
    "never": {"timeout"},
    "stalls_in_body": {"timeout"},
    "trickles": {"timeout"},
    "half_gzip": {"garbage", "truncated"},
    "no_gzip": {"garbage", "truncated"},
}


@pytest.mark.parametrize("way", BROKEN)
async def test_whatever_breaks_after_the_post_is_doubt_and_the_next_call_goes_well(
    sender: Sender, server: BrokenServer, way: str
) -> None:
    limit_s = SHORT_S if BROKEN[way] == {"timeout"} else 10.0
    answer = await sender.send(create(way), timeout_s=limit_s)
    assert isinstance(answer, Silence)
    assert answer.sent
    assert answer.why in BROKEN[way]
    assert answer.timed_out == (BROKEN[way] == {"timeout"})
    assert [request.body for request in server.requests] == [BODY]
    assert reply(await sender.send(create("ok"))).body == RUN


async def test_a_broken_read_is_sent_once_too(sender: Sender, server: BrokenServer) -> None:
    assert reply(await sender.send(read("ok"))).status == 200
    answer = await sender.send(read("reset_after_reading"))
    assert isinstance(answer, Silence)
    assert len(server.requests) == 2


@pytest.mark.parametrize("optional", [False, True])
async def test_a_refusal_ends_a_flow_unless_the_question_was_optional(
    sender: Sender, optional: bool
) -> None:
    def asks() -> Flow[int]:
        reply = yield Call("GET", "/threads/thread_1/moved", optional=optional)
        return reply.status

    got = await drive(sender, asks())
    assert got == 307 if optional else isinstance(got, Failed)


WHOLE = {
    "ok": (200, RUN),
    "says_close": (200, RUN),
    "no_content": (204, b""),
    "until_close": (200, RUN),
    "hints_first": (200, RUN),
    "gzip": (200, RUN),
    "moved": (307, b""),
    "refuses": (429, b'{"error":{}}'),
    "large": (200, b"x" * 5_000_000),
    "answers_before_body": (413, b'{"error":{}}'),
}


@pytest.mark.parametrize("way", WHOLE)
async def test_a_whole_answer_is_a_reply(sender: Sender, way: str) -> None:
    for _ in range(2):
        answer = reply(await sender.send(create(way)))
        assert (answer.status, answer.body) == WHOLE[way]


async def test_headers_are_found_in_lower_case_and_repeated_ones_are_joined(
    sender: Sender,
) -> None:
    answer = reply(await sender.send(create("twice_told")))
    assert dict(answer.headers) == {
        "warning": "one, two",
        "x-a": "b",
        "content-length": str(len(RUN)),
    }
    assert answer.headers["warning"] == "one, two"
    assert answer.headers.get("x-b") is None
    assert reply(await sender.send(create("ok"))).request_id == "req_1"


async def test_five_megabytes_arrive_at_the_server(sender: Sender, server: BrokenServer) -> None:
    large = b"y" * 5_000_000
    assert reply(await sender.send(create("ok", large))).status == 200
    assert server.requests[0].body == large


async def test_exactly_these_headers_leave(
    server: BrokenServer, open_route: Callable[[Route], Sender], trust_none: ssl.SSLContext
) -> None:
    headers = (("authorization", "Bearer k"), ("openai-beta", "assistants=v2"))
    sender = open_route(Route(f"{server.url}/v1", headers=headers, trust=trust_none))
    call = Call(
        "POST", "/a%2Fb/ok", "x=1&y=%20", BODY, (("Idempotency-Key", "k1"), ("OpenAI-Beta", "v1"))
    )
    await sender.send(call)
    await sender.send(Call("POST", "/runs/ok"))
    await sender.send(read("ok"))
    await sender.aclose()
    always = {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": "Bearer k",
        "user-agent": "runner",
    }
    posted, bare, got = server.requests
    assert posted.line == "POST /v1/a%2Fb/ok?x=1&y=%20 HTTP/1.1"
    assert dict(posted.headers) == always | {
        "content-length": str(len(BODY)),
        "content-type": "application/json",
        "idempotency-key": "k1",
        "openai-beta": "v1",
    }
    assert len(posted.headers) == 9
    beta = {"openai-beta": "assistants=v2"}
    assert dict(bare.headers) == always | beta | {"content-length": "0"}
    assert dict(got.headers) == always | beta


async def test_a_refused_connection_is_proven_unsent(
    open_route: Callable[[Route], Sender], closed_port: int, trust_none: ssl.SSLContext
) -> None:
    sender = open_route(Route(f"http://127.0.0.1:{closed_port}", trust=trust_none))
    answer = await sender.send(create("ok"))
    await sender.aclose()
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (False, "refused")


async def test_a_name_that_does_not_resolve_is_proven_unsent(
    open_route: Callable[[Route], Sender], trust_none: ssl.SSLContext
) -> None:
    # Too long for DNS, so the resolver refuses it without asking anybody.
    name = ".".join(["a" * 60] * 5)
    sender = open_route(Route(f"http://{name}/v1", trust=trust_none))
    answer = await sender.send(create("ok"))
    await sender.aclose()
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (False, "dns")


async def test_a_server_that_does_not_accept_is_a_connect_timeout(
    open_route: Callable[[Route], Sender], full_port: int, trust_none: ssl.SSLContext
) -> None:
    route = Route(f"http://127.0.0.1:{full_port}", trust=trust_none, connect_s=SHORT_S)
    sender = open_route(route)
    with anyio.fail_after(10):
        answer = await sender.send(create("ok"), timeout_s=60)
        shorter = await sender.send(create("ok"), timeout_s=SHORT_S / 2)
    await sender.aclose()
    for silence in (answer, shorter):
        assert isinstance(silence, Silence)
        assert (silence.sent, silence.why) == (False, "connect_timeout")


async def test_an_answer_slower_than_connecting_may_be_is_waited_for(
    open_route: Callable[[Route], Sender], server: BrokenServer, trust_none: ssl.SSLContext
) -> None:
    sender = open_route(Route(f"{server.url}/v1", trust=trust_none, connect_s=0.5))
    answer = await sender.send(create("after_a_while"), timeout_s=30)
    await sender.aclose()
    assert reply(answer).status == 200


async def test_a_closed_sender_sends_nothing(sender: Sender, server: BrokenServer) -> None:
    await sender.send(create("ok"))
    await sender.aclose()
    answer = await sender.send(create("ok"))
    assert isinstance(answer, Silence)
    assert not answer.sent
    assert len(server.requests) == 1


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is bound, so nobody else gets it, but does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops what asks for one more."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (first, second):
            waiting.settimeout(0)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
