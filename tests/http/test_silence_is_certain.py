"""The guard, the RST, the reuse of connections (`protocol.md` 6), and many calls at once."""

import ssl
from collections.abc import Callable

import anyio
import pytest
from broken_server import RUN, BrokenServer
from ways import LARGE

from runner.core.call import Answer, Call, Reply, Silence
from runner.http.aiohttp_sender import AiohttpSender
from runner.http.route import Route
from runner.http.sender import Sender

pytestmark = pytest.mark.anyio

BODY = b'{"assistant_id":"asst_1"}'
SHORT_S = 0.25
Open = Callable[[Route], Sender]


def create(way: str, body: bytes | None = BODY) -> Call:
    return Call("POST", f"/threads/thread_1/{way}", body=body, creates=True)


def read(way: str) -> Call:
    return Call("GET", f"/threads/thread_1/{way}")


def is_ok(answer: Answer) -> bool:
    return isinstance(answer, Reply) and answer.status == 200 and answer.body == RUN


async def test_a_guard_that_says_no_at_the_headers_lets_nothing_leave(
    sender: Sender, server: BrokenServer
) -> None:
    answer = await sender.send(create("ok"), guard=lambda: False)
    assert answer == Silence(sent=False, why="guard")
    line = await server.an_end()
    assert (line.arrived, line.ended) == (0, "reset")


async def test_a_guard_that_says_no_at_the_body_lets_no_byte_of_it_leave(
    sender: Sender, server: BrokenServer
) -> None:
    says = iter((True, False))
    answer = await sender.send(create("ok"), guard=lambda: next(says))
    assert answer == Silence(sent=False, why="guard")
    line = await server.an_end()
    assert line.ended == "reset"
    assert line.requests == []
    assert next(says, None) is None


async def test_a_guard_is_heard_on_a_reused_connection_too(
    sender: Sender, server: BrokenServer
) -> None:
    assert is_ok(await sender.send(create("ok")))
    says = iter((True, False))
    answer = await sender.send(create("ok"), guard=lambda: next(says))
    assert answer == Silence(sent=False, why="guard")
    assert (await server.an_end()).ended == "reset"
    assert len(server.requests) == len(server.lines) == 1
    assert is_ok(await sender.send(create("ok")))


async def test_a_guard_is_asked_twice_and_after_the_connection_stands(
    sender: Sender, server: BrokenServer
) -> None:
    asked: list[int] = []

    def guard() -> bool:
        asked.append(len(server.requests))
        return True

    assert is_ok(await sender.send(create("ok"), guard=guard))
    assert asked == [0, 0]


async def test_a_request_without_body_is_guarded_once_since_its_headers_are_all_of_it(
    sender: Sender, server: BrokenServer
) -> None:
    says = iter((True, False))
    assert is_ok(await sender.send(create("ok", None), guard=lambda: next(says)))
    assert next(says) is False
    answer = await sender.send(create("ok", None), guard=lambda: False)
    assert answer == Silence(sent=False, why="guard")
    assert len(server.requests) == 1


async def test_a_guard_is_not_asked_where_nothing_can_be_sent(
    open_route: Open, trust_none: ssl.SSLContext
) -> None:
    asked: list[bool] = []

    def guard() -> bool:
        asked.append(True)
        return True

    sender = open_route(Route("http://127.0.0.1:1", trust=trust_none))
    answer = await sender.send(create("ok"), guard=guard)
    await sender.aclose()
    assert isinstance(answer, Silence)
    assert answer.why == "refused"
    assert asked == []


async def test_a_guard_that_breaks_sends_nothing(sender: Sender, server: BrokenServer) -> None:
    def guard() -> bool:
        raise ZeroDivisionError

    answer = await sender.send(create("ok"), guard=guard)
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (False, "unknown")
    assert (await server.an_end()).arrived == 0


async def test_a_time_out_of_ours_resets_the_connection(
    sender: Sender, server: BrokenServer
) -> None:
    answer = await sender.send(create("never"), timeout_s=SHORT_S)
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (True, "timeout")
    assert (await server.an_end()).ended == "reset"


async def test_what_lies_in_the_buffers_does_not_leave_after_a_time_out(
    sender: Sender, server: BrokenServer
) -> None:
    # The kernel's own buffers of both ends hold some 10 MB of it, the client's the rest.
    large = b"y" * 50_000_000
    answer = await sender.send(create("reads_when_told", large), timeout_s=SHORT_S)
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (True, "timeout")
    server.go_on()
    line = await server.an_end()
    assert line.ended == "reset"
    assert line.arrived < len(large) / 2


async def test_cancelling_resets_the_connection_and_is_passed_on(
    sender: Sender, server: BrokenServer
) -> None:
    answers: list[Answer] = []
    sent = anyio.Event()

    def guard() -> bool:
        sent.set()
        return True

    async with anyio.create_task_group() as group:

        async def sending() -> None:
            answers.append(await sender.send(create("never"), guard=guard))

        group.start_soon(sending)
        await sent.wait()
        group.cancel_scope.cancel()
    assert answers == []
    assert (await server.an_end()).ended == "reset"
    assert is_ok(await sender.send(create("ok")))


@pytest.mark.parametrize("for_good", [True, False], ids=["aclose", "hang_up"])
async def test_hanging_up_resets_what_is_under_way(
    sender: Sender,
    server: BrokenServer,
    for_good: bool,
) -> None:
    assert is_ok(await sender.send(read("ok")))
    answers: list[Answer] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:

            async def sending() -> None:
                answers.append(await sender.send(create("never")))

            group.start_soon(sending)
            await server.whole_requests(2)
            await (sender.aclose() if for_good else sender.hang_up())
    assert isinstance(answers[0], Silence)
    assert (answers[0].sent, answers[0].why) == (True, "cancelled")
    for line in list(server.lines):
        assert (await server.an_end()).ended == "reset", line
    assert is_ok(await sender.send(create("ok"))) != for_good


async def test_a_request_that_still_connects_does_not_leave_after_hanging_up(
    open_route: Open, server: BrokenServer, trust_none: ssl.SSLContext
) -> None:
    # The tunnel stays half made until the sender has hung up.
    route = Route("https://127.0.0.1:1", proxy=server.url, trust=trust_none, connect_s=SHORT_S)
    sender = open_route(route)
    server.tunnels_to = -1
    answers: list[Answer] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:

            async def sending() -> None:
                answers.append(await sender.send(create("ok")))

            group.start_soon(sending)
            await server.an_opening()
            await sender.hang_up()
    await sender.aclose()
    assert isinstance(answers[0], Silence)
    assert (answers[0].sent, answers[0].why) == (False, "cancelled")


async def test_a_connection_that_the_server_closed_while_idle_is_not_used_again(
    sender: Sender, server: BrokenServer
) -> None:
    for number in range(1, 4):
        assert is_ok(await sender.send(create("ok_then_close")))
        await server.a_close()
        assert (await server.an_end()).ended == "eof"
        assert len(server.lines) == len(server.requests) == number


async def test_a_connection_that_dies_under_the_post_is_doubt_and_no_second_post(
    sender: Sender, server: BrokenServer
) -> None:
    assert is_ok(await sender.send(create("first_only")))
    answer = await sender.send(create("first_only"))
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (True, "closed")
    assert len(server.requests) == 2


@pytest.mark.parametrize("call", [create("ok"), read("ok")], ids=["create", "read"])
async def test_a_young_connection_is_used_again(
    sender: Sender, server: BrokenServer, call: Call
) -> None:
    for _ in range(3):
        assert is_ok(await sender.send(call))
    assert len(server.lines) == 1


async def test_a_create_does_not_use_a_connection_that_idled_too_long(
    server: BrokenServer, open_route: Open, trust_none: ssl.SSLContext
) -> None:
    route = Route(f"{server.url}/v1", trust=trust_none, keep_create_s=1e-9)
    sender = open_route(route)
    for _ in range(3):
        assert is_ok(await sender.send(create("ok")))
    assert len(server.lines) == 3
    for _ in range(3):
        assert is_ok(await sender.send(read("ok")))
    await sender.aclose()
    assert len(server.lines) <= 4


async def test_a_connection_that_nobody_uses_again_is_closed_in_time(
    server: BrokenServer, trust_none: ssl.SSLContext
) -> None:
    sender = AiohttpSender(Route(f"{server.url}/v1", trust=trust_none, keep_s=0.05))
    assert is_ok(await sender.send(read("ok")))
    assert (await server.an_end()).ended == "reset"
    assert is_ok(await sender.send(read("ok")))
    await sender.aclose()
    assert len(server.lines) == 2


async def test_a_second_answer_to_one_request_is_not_taken_for_the_next_ones(
    sender: Sender, server: BrokenServer
) -> None:
    assert is_ok(await sender.send(create("two_answers")))
    for _ in range(3):
        assert is_ok(await sender.send(create("ok")))
    assert len(server.lines) == 2


async def test_three_hundred_calls_go_at_once(sender: Sender, server: BrokenServer) -> None:
    answers: list[Answer] = []

    async def sending() -> None:
        answers.append(await sender.send(create("when_told")))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(sending)
            await server.whole_requests(300)
            server.go_on()
    assert sum(map(is_ok, answers)) == 300
    assert len(server.lines) == 300


@pytest.mark.timeout(300 if LARGE else 180)
async def test_hundreds_of_time_outs_leave_no_slot_behind(sender: Sender) -> None:
    """C71: dead slots once filled a pool until all calls failed."""
    answers: list[Answer] = []

    async def sending(way: str, limit_s: float) -> None:
        answers.append(await sender.send(create(way), timeout_s=limit_s))

    with anyio.fail_after(240 if LARGE else 60):
        async with anyio.create_task_group() as group:
            for number in range(2_000 if LARGE else 400):
                # Some run out while they connect, some while they wait.
                group.start_soon(sending, "never", 0.001 * (number % 200))
        assert all(isinstance(answer, Silence) for answer in answers)
        answers.clear()
        for _ in range(3):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(sending, "ok", 30.0)
    assert sum(map(is_ok, answers)) == 300
    assert not sender._busy  # type: ignore[attr-defined] # both count what is under way


async def test_no_silence_tells_a_secret(
    server: BrokenServer, open_route: Open, trust_none: ssl.SSLContext
) -> None:
    secret = "sk-hidden"
    route = Route(
        f"{server.url}/v1",
        headers=(("authorization", f"Bearer {secret}"), ("x-bad", f"{secret}\r\nx: y")),
        trust=trust_none,
    )
    sender = open_route(route)
    told = [await sender.send(create(way), timeout_s=SHORT_S) for way in ("ok", "garbage")]
    await sender.aclose()
    assert all(isinstance(answer, Silence) for answer in told)
    assert secret not in repr(told)
    assert secret not in repr(route)
    assert secret not in repr(sender)
