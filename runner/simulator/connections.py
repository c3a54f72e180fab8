"""The connections under the requests, so that a fault can cut one (libraries.md 12)."""

import asyncio
import os
import socket
import struct

_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """One connection and how to end it without an answer."""

    __slots__ = ("_requests", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._requests = 0

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        self._transport.close()

    def reset(self) -> None:
        """Send RST and nothing else."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            # The option belongs to the open file, so a copy of the descriptor sets it too:
            # uvloop's own socket object does not offer setsockopt everywhere.
            with socket.socket(fileno=os.dup(sock.fileno())) as copy:
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self._transport.abort()

    def served(self) -> None:
        """Count a request: a connection with a new one is not idle."""
        self._requests += 1

    def close_after(self, delay_s: float) -> None:
        """Close after `delay_s`, idle or not: the next request may run into it."""
        asyncio.get_running_loop().call_later(delay_s, self._transport.close)

    def close_when_idle(self, delay_s: float) -> None:
        """Close after `delay_s` unless another request has come by then."""
        asyncio.get_running_loop().call_later(delay_s, self._close_if_idle, self._requests)

    def _close_if_idle(self, requests: int) -> None:
        if requests == self._requests:
            self._transport.close()


class Connections:
    """All open connections, by the client's address."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], Connection] = {}

    def opened(self, transport: asyncio.Transport) -> None:
        """Note a new connection."""
        self._open[_address(transport)] = Connection(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._open.pop(_address(transport), None)

    def of(self, client: tuple[str, int] | None) -> Connection:
        """Return a client's connection; one that is gone already takes every call in silence.

        One that was gone before its request was taken up has no address left.
        """
        if client is None:
            return Connection(_GONE)
        return self._open.get((client[0], client[1])) or Connection(_GONE)


class _Gone(asyncio.Transport):
    """The transport of a connection that is no more."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


_GONE = _Gone()


def _address(transport: asyncio.Transport) -> tuple[str, int]:
    # None where the client has gone before its connection was made known (uvloop).
    name = transport.get_extra_info("peername") or ("", 0)
    return (str(name[0]), int(name[1]))
