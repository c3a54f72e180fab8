"""Both senders, and a server that breaks."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from broken_server import BrokenServer, serving

from runner.http.aiohttp_sender import AiohttpSender
from runner.http.route import Route
from runner.http.sender import Sender
from runner.http.slots import HttpxSender

Open = Callable[[Route], Sender]
SENDERS: dict[str, Open] = {"httpx": HttpxSender, "aiohttp": AiohttpSender}


@pytest.fixture(scope="session")
def trust_none() -> ssl.SSLContext:
    """A context made once: reading the system's certificates takes 15 ms and more."""
    return ssl.create_default_context()


@pytest.fixture
def server() -> Iterator[BrokenServer]:
    with serving() as running:
        yield running


@pytest.fixture(params=SENDERS)
def open_route(request: pytest.FixtureRequest) -> Open:
    return SENDERS[request.param]


@pytest.fixture
async def sender(
    server: BrokenServer, open_route: Open, trust_none: ssl.SSLContext
) -> AsyncIterator[Sender]:
    opened = open_route(Route(f"{server.url}/v1", trust=trust_none))
    yield opened
    await opened.aclose()
