"""Hosts as network namespaces of this machine, each with a cable for either way out of it.

Both ways lead to this machine: one to the address of the database, one to that of the API. A
pulled cable loses what is sent and tells nobody.
"""

import contextlib
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from itertools import count
from typing import Literal, Self

import pytest
from no_skip import NOT_ALLOWED

Way = Literal["database", "api"]

# A network that no machine has (RFC 2544, for measurements), in as many parts as it has blocks of
# 64: tests run in several processes at once.
_BLOCK = int(IPv4Address("198.18.0.0")) + 64 * (os.getpid() % 2048)
_NUMBERS = count(0)
_END: dict[Way, int] = {"database": 1, "api": 2}


def address(way: Way) -> str:
    """Return the address of this machine that a way leads to."""
    return str(IPv4Address(_BLOCK + _END[way]))


def skip_where_there_are_none() -> None:
    """Skip a test where no namespaces can be made; without the program it is to be installed."""
    if os.getuid() != 0:
        pytest.skip(f"{NOT_ALLOWED} network namespaces: only root makes them")
    name = f"rn{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except FileNotFoundError:
        pytest.skip("there is no ip command (package iproute2)")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{NOT_ALLOWED} network namespaces: {error.stderr.strip()}")
    try:
        # Where namespaces are allowed a pair of ends may still not be.
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "del", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{NOT_ALLOWED} cables between network namespaces: {error.stderr.strip()}")
    finally:
        _ip("netns", "del", name)


@contextmanager
def addresses() -> Iterator[None]:
    """Give this machine the addresses that the ways lead to."""
    for way in _END:
        _ip("addr", "add", f"{address(way)}/32", "dev", "lo")
    try:
        yield
    finally:
        for way in _END:
            _ip("addr", "del", f"{address(way)}/32", "dev", "lo")


class Host:
    """A namespace with a cable for each way. It ends with its context."""

    def __init__(self) -> None:
        number = next(_NUMBERS) % 7
        self.name = f"rn{os.getpid()}-{number}"
        self._first = _BLOCK + 4 + 8 * number
        self._cables = {way: f"rn{os.getpid() % 100_000}{way[0]}{number}" for way in _END}

    def __enter__(self) -> Self:
        _ip("netns", "add", self.name)
        for way, cable in self._cables.items():
            here, there = self._ends(way)
            _ip("link", "add", cable, "type", "veth", "peer", "name", way, "netns", self.name)
            _ip("addr", "add", f"{here}/30", "dev", cable)
            _ip("-n", self.name, "addr", "add", f"{there}/30", "dev", way)
            _ip("link", "set", cable, "up")
            self.plug(way)
        _ip("-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        # Half-closed connections keep a namespace, and its end of the cable, for minutes.
        for cable in self._cables.values():
            _ip("link", "del", cable)
        _ip("netns", "del", self.name)

    def cut(self, way: Way) -> None:
        """Pull a cable out: nothing arrives, and nobody is told."""
        _ip("-n", self.name, "link", "set", way, "down")

    def plug(self, way: Way) -> None:
        """Put a cable in; only that way's address is found through it."""
        here, _ = self._ends(way)
        _ip("-n", self.name, "link", "set", way, "up")
        _ip("-n", self.name, "route", "add", address(way), "via", here, "dev", way)

    def _ends(self, way: Way) -> tuple[str, str]:
        """Return the addresses of a cable's two ends, this machine's first."""
        first = self._first + 4 * (_END[way] - 1)
        return str(IPv4Address(first + 1)), str(IPv4Address(first + 2))


class Door:
    """Carries what comes to a port of `address` on to a port of this machine's own."""

    def __init__(self, address: str, port: int) -> None:
        self._to = port
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def hang_up(self) -> None:
        """Reset what is open, as a server does that has heard nothing for long.

        A client that was cut off would else try its old connection at pauses that grow to a minute.
        """
        for client in self._open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._open.append(client)
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._to)) as server,
        ):
            while True:
                for end in select.select([client, server], [], [])[0]:
                    content = end.recv(65536)
                    if not content:
                        return
                    (client if end is server else server).sendall(content)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)
