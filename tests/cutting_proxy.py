"""A TCP proxy that forwards every byte, and cuts a connection where it is told to."""

import contextlib
import socket
import threading
from typing import Self

CREATE = b"/runs HTTP/1.1\r\n"
BUSY = b"HTTP/1.1 409 "


class CuttingProxy:
    """Forwards to `server`, a port of 127.0.0.1; `url` is its own, at `port` (0: any).

    The first connection on which `answer_lost` goes by is cut when the server's answer to it comes,
    of which no byte is passed on. The first on which `request_lost` goes by is cut then and there,
    before a byte of the body that holds it was passed on. `lost` names what was done, `creates` counts
    the requests that went by for a run to be made, `busy` the answers that a thread was busy.
    """

    def __init__(
        self,
        server: int,
        *,
        port: int = 0,
        answer_lost: bytes | None = None,
        request_lost: bytes | None = None,
    ) -> None:
        self._server = server
        self._answer_lost, self._request_lost = answer_lost, request_lost
        self._lock = threading.Lock()
        self.lost: list[str] = []
        self.creates = 0
        self.busy = 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
            except OSError:
                return
            doomed = threading.Event()
            for one in (
                threading.Thread(target=self._ask, args=(client, server, doomed), daemon=True),
                threading.Thread(target=self._answer, args=(client, server, doomed), daemon=True),
            ):
                one.start()

    def _ask(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while part := client.recv(65536):
                with self._lock:
                    self.creates += part.count(CREATE)
                if self._request_lost and self._request_lost in part and self._once("request"):
                    _shut(client)
                    break
                if self._answer_lost and self._answer_lost in part and self._once("answer"):
                    doomed.set()
                server.sendall(part)
        _shut(server)

    def _answer(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with client, server:
            with contextlib.suppress(OSError):
                while (part := server.recv(65536)) and not doomed.is_set():
                    with self._lock:
                        self.busy += part.count(BUSY)
                    client.sendall(part)
            # What waits for one of them in the other thread is woken by this, not by the close.
            _shut(client)
            _shut(server)

    def _once(self, what: str) -> bool:
        with self._lock:
            if what in self.lost:
                return False
            self.lost.append(what)
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)
        self._listener.close()


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
