"""Proxies and TLS on the wire, and which sender is opened."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from broken_server import RUN, BrokenServer, serving

from runner.core.call import Answer, Call, Reply, Silence
from runner.core.errors import UsageError
from runner.http.aiohttp_sender import AiohttpSender
from runner.http.open import open_sender
from runner.http.proxies import Proxies
from runner.http.sender import Sender
from runner.http.slots import HttpxSender

pytestmark = pytest.mark.anyio

SHORT_S = 0.25
Ask = Callable[..., Awaitable[Answer]]


def create(way: str) -> Call:
    return Call("POST", f"/runs/{way}", body=b"{}", creates=True)


def is_ok(answer: Answer) -> bool:
    return isinstance(answer, Reply) and answer.status == 200 and answer.body == RUN


def unsent(answer: Answer) -> str:
    assert isinstance(answer, Silence), answer
    assert not answer.sent
    return answer.why


@pytest.fixture(params=["httpx", "aiohttp"])
async def ask(request: pytest.FixtureRequest) -> AsyncIterator[Ask]:
    """Open a sender, send one call, keep the sender for the next with the same settings."""
    opened: dict[object, Sender] = {}

    async def asked(
        base_url: str,
        way: str = "ok",
        *,
        proxies: Proxies | None = None,
        cert_file: str = "",
        timeout_s: float = 10.0,
    ) -> Answer:
        key = (base_url, proxies, cert_file)
        if key not in opened:
            opened[key] = open_sender(
                request.param, base_url=base_url, proxies=proxies, cert_file=cert_file
            )
        return await opened[key].send(create(way), timeout_s=timeout_s)

    yield asked
    for sender in opened.values():
        await sender.aclose()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, and its key in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the certificate for these tests, and is missing")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "ca.pem",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return folder / "ca.pem"


@pytest.fixture
def secure(certificate: Path) -> Iterator[BrokenServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with serving(context) as running:
        yield running


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def https(server: BrokenServer) -> str:
    return f"https://127.0.0.1:{server.port}/v1"


async def test_a_certificate_that_nobody_vouches_for_is_proven_unsent(
    ask: Ask, secure: BrokenServer
) -> None:
    assert unsent(await ask(https(secure))) == "tls"
    assert secure.requests == []


async def test_a_certificate_file_is_believed(
    ask: Ask, secure: BrokenServer, certificate: Path
) -> None:
    for _ in range(2):
        assert is_ok(await ask(https(secure), cert_file=str(certificate)))
    assert len(secure.lines) == 1


async def test_a_break_after_the_post_is_doubt_under_tls_too(
    ask: Ask, secure: BrokenServer, certificate: Path
) -> None:
    for way in ("close_after_reading", "reset_after_reading", "truncated_length", "never"):
        answer = await ask(https(secure), way, cert_file=str(certificate), timeout_s=SHORT_S)
        assert isinstance(answer, Silence)
        assert answer.sent
    assert len(secure.requests) == 4


async def test_a_server_without_tls_is_proven_unsent(ask: Ask, server: BrokenServer) -> None:
    assert unsent(await ask(https(server), timeout_s=SHORT_S * 2)) in {"tls", "connect_timeout"}
    assert server.requests == []


async def test_a_server_that_hangs_up_on_the_handshake_is_proven_unsent(ask: Ask) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        listening.settimeout(10)
        port = listening.getsockname()[1]

        def refuse() -> None:
            accepted, _ = listening.accept()
            accepted.recv(1)
            accepted.close()

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        assert unsent(await ask(f"https://127.0.0.1:{port}")) == "tls"
        thread.join(10)


async def test_plain_requests_go_through_the_proxy_with_its_password(
    ask: Ask, server: BrokenServer
) -> None:
    proxies = Proxies(http=f"http://me:secret@127.0.0.1:{server.port}")
    assert is_ok(await ask("http://agents.example.org/v1", proxies=proxies))
    (request,) = server.requests
    assert request.line == "POST http://agents.example.org/v1/runs/ok HTTP/1.1"
    assert request.header("host") == "agents.example.org"
    assert request.header("proxy-authorization") == "Basic bWU6c2VjcmV0"


async def test_a_request_that_a_plain_proxy_has_read_is_doubt(
    ask: Ask, server: BrokenServer
) -> None:
    proxies = Proxies(http=server.url)
    answer = await ask("http://agents.example.org", "close_after_reading", proxies=proxies)
    assert isinstance(answer, Silence)
    assert (answer.sent, answer.why) == (True, "closed")


async def test_a_host_in_no_proxy_is_asked_directly(
    ask: Ask, server: BrokenServer, closed_port: int
) -> None:
    proxies = Proxies(http=f"http://127.0.0.1:{closed_port}", no=("127.0.0.0/8",))
    assert is_ok(await ask(f"{server.url}/v1", proxies=proxies))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_the_connection_is_proven_unsent(
    ask: Ask, closed_port: int, scheme: str
) -> None:
    url = f"http://me:secret@127.0.0.1:{closed_port}"
    answer = await ask(f"{scheme}://agents.example.org", proxies=Proxies(http=url, https=url))
    assert unsent(answer) == "proxy"
    assert "secret" not in repr(answer)


async def test_a_tunnel_that_the_proxy_refuses_is_proven_unsent(
    ask: Ask, server: BrokenServer
) -> None:
    answer = await ask("https://agents.example.org", proxies=Proxies(https=server.url))
    assert unsent(answer) == "proxy"


async def test_a_tunnel_to_a_dead_server_is_proven_unsent(
    ask: Ask, server: BrokenServer, closed_port: int
) -> None:
    server.tunnels_to = closed_port
    answer = await ask("https://agents.example.org", proxies=Proxies(https=server.url))
    assert unsent(answer) == "proxy"


async def test_requests_go_through_a_tunnel_and_its_breaks_are_doubt(
    ask: Ask, server: BrokenServer, secure: BrokenServer, certificate: Path
) -> None:
    server.tunnels_to = secure.port
    proxies, file = Proxies(https=server.url), str(certificate)
    for _ in range(2):
        assert is_ok(await ask(https(secure), proxies=proxies, cert_file=file))
    assert len(server.lines) == 1
    answer = await ask(https(secure), "close_after_reading", proxies=proxies, cert_file=file)
    assert isinstance(answer, Silence)
    assert answer.sent
    assert len(secure.requests) == 3


async def test_a_certificate_nobody_vouches_for_behind_a_tunnel_is_tls(
    ask: Ask, server: BrokenServer, secure: BrokenServer
) -> None:
    server.tunnels_to = secure.port
    assert unsent(await ask(https(secure), proxies=Proxies(https=server.url))) == "tls"


@pytest.mark.parametrize(
    ("choice", "kind"),
    [("auto", AiohttpSender), ("aiohttp", AiohttpSender), ("httpx", HttpxSender)],
)
def test_the_fast_sender_is_taken_where_it_is_installed(
    choice: Literal["auto", "httpx", "aiohttp"], kind: type[object]
) -> None:
    assert type(open_sender(choice, base_url="http://127.0.0.1:1")) is kind


def test_a_sender_is_not_opened_on_a_base_url_or_header_that_is_wrong() -> None:
    with pytest.raises(UsageError):
        open_sender(base_url="127.0.0.1")
    with pytest.raises(UsageError):
        open_sender(base_url="http://127.0.0.1", headers=[("x", "a\nb")])
