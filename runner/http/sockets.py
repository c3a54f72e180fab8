"""The socket options that make a sender's silence certain (`protocol.md` 6)."""

import socket
import struct

SocketOption = tuple[int, int, int] | tuple[int, int, bytes]


def socket_options(longest_s: float) -> tuple[SocketOption, ...]:
    """Return the options for each connection.

    Lingering for 0 s makes every close an RST that drops what the kernel still holds: without it
    2.8 MB of a request arrived after its sender had closed, and even after its SIGKILL.
    TCP_USER_TIMEOUT, where the system has it, ends a connection whose bytes are not acknowledged.
    """
    options: list[SocketOption] = [
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    ]
    user_timeout: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    if user_timeout is not None:
        options.append((socket.IPPROTO_TCP, user_timeout, int(longest_s * 1000)))
    return tuple(options)
