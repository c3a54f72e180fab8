"""What an exchange that broke is called, for every client.

Whether a byte left us is never read from an exception's class: `Watch.stage` knows it, since it is
moved by the client's last layer (`protocol.md` 6). The class only chooses the word for people and
for the length of the wait. The classes are named by text, so that neither client is imported here;
a test reads each library's exported exceptions and fails where one has no word.
"""

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from enum import IntEnum

from runner.core.call import Silence
from runner.http.deadlines import Deadline, Deadlines
from runner.http.sender import Guard

LONGEST_DETAIL = 200
USERINFO = re.compile(r"//[^/\s@]*@")


class Stage(IntEnum):
    """How far an exchange has come; from SENDING on a byte of the request may have left us."""

    CONNECTING = 0
    TUNNELLING = 1
    SECURING = 2
    SENDING = 3
    ANSWERING = 4


class Withheld(Exception):
    """The guard said no: raised inside the client so that nothing further leaves."""


class Watch:
    """What is known of one exchange: its stage, and whether the guard stopped it.

    The guard is asked before the headers and again before the body. Headers without their body make
    nothing at any server, so a no at either place proves that nothing was made; a request without
    a body is whole with its headers, so there the second question would come too late.
    """

    __slots__ = (
        "_deadlines",
        "_ends_at",
        "_guard",
        "_has_body",
        "_limit",
        "stage",
        "stopped",
        "withheld",
    )

    def __init__(self, guard: Guard | None, deadlines: Deadlines, *, has_body: bool) -> None:
        self._guard = guard
        self._deadlines = deadlines
        self._has_body = has_body
        self._limit: Deadline | None = None
        self._ends_at = 0.0
        self.stage = Stage.CONNECTING
        self.stopped = False
        self.withheld = False

    def stop(self) -> None:
        """End the exchange at the loop's next turn, and let nothing more leave until then.

        A request that still connects would otherwise go out on its own, after its sender hung up.
        """
        self.stopped = True
        if self._limit is not None:
            self._limit.end()

    def limit(self, whole_s: float, connect_s: float) -> Deadline:
        """Return what bounds the exchange: `connect_s` up to the first byte, `whole_s` in all."""
        now = asyncio.get_running_loop().time()
        self._ends_at = now + whole_s
        self._limit = Deadline(self._deadlines, now + min(connect_s, whole_s))
        return self._limit

    def before_headers(self) -> None:
        """Ask the guard, then take note that the request begins to leave; raise Withheld on no."""
        self._ask()
        if self._limit is not None:
            self._limit.ends_at = self._ends_at
        self.stage = Stage.SENDING

    def before_body(self) -> None:
        """Ask the guard again, just before the body leaves; raise Withheld on no."""
        if self._has_body:
            self._ask()

    def _ask(self) -> None:
        if self.stopped:
            raise Withheld
        if self._guard is not None and not self._guard():
            self.withheld = True
            raise Withheld


WHY: Mapping[str, str] = {
    "httpx.HTTPError": "unknown",
    "httpx.RequestError": "unknown",
    "httpx.TransportError": "unknown",
    "httpx.TimeoutException": "timeout",
    "httpx.ConnectTimeout": "connect_timeout",
    "httpx.ReadTimeout": "timeout",
    "httpx.WriteTimeout": "timeout",
    "httpx.PoolTimeout": "connect_timeout",
    "httpx.NetworkError": "reset",
    "httpx.ConnectError": "refused",
    "httpx.ReadError": "reset",
    "httpx.WriteError": "reset",
    "httpx.CloseError": "reset",
    "httpx.ProxyError": "proxy",
    "httpx.UnsupportedProtocol": "unknown",
    "httpx.ProtocolError": "garbage",
    "httpx.LocalProtocolError": "unknown",
    "httpx.RemoteProtocolError": "garbage",
    "httpx.DecodingError": "garbage",
    "httpx.TooManyRedirects": "unknown",
    "httpx.HTTPStatusError": "unknown",
    "httpx.InvalidURL": "unknown",
    "httpx.CookieConflict": "unknown",
    "httpx.StreamError": "unknown",
    "httpx.StreamConsumed": "unknown",
    "httpx.StreamClosed": "reset",
    "httpx.ResponseNotRead": "unknown",
    "httpx.RequestNotRead": "unknown",
    "httpcore.TimeoutException": "timeout",
    "httpcore.ConnectTimeout": "connect_timeout",
    "httpcore.ReadTimeout": "timeout",
    "httpcore.WriteTimeout": "timeout",
    "httpcore.PoolTimeout": "connect_timeout",
    "httpcore.NetworkError": "reset",
    "httpcore.ConnectError": "refused",
    "httpcore.ReadError": "reset",
    "httpcore.WriteError": "reset",
    "httpcore.ProxyError": "proxy",
    "httpcore.UnsupportedProtocol": "unknown",
    "httpcore.ProtocolError": "garbage",
    "httpcore.LocalProtocolError": "unknown",
    "httpcore.RemoteProtocolError": "garbage",
    "httpcore.ConnectionNotAvailable": "unknown",
    "aiohttp.ClientError": "unknown",
    "aiohttp.ClientConnectionError": "closed",
    "aiohttp.ClientConnectionResetError": "reset",
    "aiohttp.ClientOSError": "reset",
    "aiohttp.ClientConnectorError": "refused",
    "aiohttp.ClientConnectorDNSError": "dns",
    "aiohttp.ClientConnectorSSLError": "tls",
    "aiohttp.ClientConnectorCertificateError": "tls",
    "aiohttp.ClientSSLError": "tls",
    "aiohttp.ServerFingerprintMismatch": "tls",
    "aiohttp.ClientProxyConnectionError": "proxy",
    "aiohttp.ClientHttpProxyError": "proxy",
    "aiohttp.UnixClientConnectorError": "refused",
    "aiohttp.ServerConnectionError": "closed",
    "aiohttp.ServerDisconnectedError": "closed",
    "aiohttp.ServerTimeoutError": "timeout",
    "aiohttp.ConnectionTimeoutError": "connect_timeout",
    "aiohttp.SocketTimeoutError": "timeout",
    "aiohttp.ClientPayloadError": "truncated",
    "aiohttp.ClientResponseError": "garbage",
    "aiohttp.HttpProcessingError": "garbage",
    "aiohttp.ContentTypeError": "garbage",
    "aiohttp.WSServerHandshakeError": "unknown",
    "aiohttp.WSMessageTypeError": "unknown",
    "aiohttp.TooManyRedirects": "unknown",
    "aiohttp.InvalidURL": "unknown",
    "aiohttp.InvalidUrlClientError": "unknown",
    "aiohttp.InvalidUrlRedirectClientError": "unknown",
    "aiohttp.NonHttpUrlClientError": "unknown",
    "aiohttp.NonHttpUrlRedirectClientError": "unknown",
    "aiohttp.RedirectClientError": "unknown",
    "aiohttp.BadContentDispositionHeader": "unknown",
    "aiohttp.BadContentDispositionParam": "unknown",
    "aiohttp.EofStream": "unknown",
    "aiohttp.UploadAbortedError": "unknown",
    "aiohttp.WebSocketError": "unknown",
    "runner.BrokenEncoding": "garbage",
}
"""Each client's exceptions, as `library.Class`, and the word for what they tell after a send."""

# Their texts quote the request's own headers ("Illegal header value b'Bearer …'").
SILENT_CLASSES = frozenset({"httpx.LocalProtocolError", "httpcore.LocalProtocolError"})


def silence_of(trouble: BaseException, watch: Watch, *, proxied: bool) -> Silence:
    """Return what to call an exchange that ended by `trouble`.

    `proxied`: the connection was to a proxy, so a failure before the request is the proxy's.
    An exception that is on no list is "unknown", and a doubt from the first byte on.
    """
    if watch.withheld:
        return Silence(sent=False, why="guard")
    sent = watch.stage >= Stage.SENDING
    if watch.stopped:
        return Silence(sent=sent, why="cancelled", detail="the sender hung up")
    why = _after(trouble, watch.stage) if sent else _before(trouble, watch.stage, proxied=proxied)
    return Silence(sent=sent, why=why, detail=_detail(trouble))


def _before(trouble: BaseException, stage: Stage, *, proxied: bool) -> str:
    """Name a failure before the first byte: the cause in the kernel's terms, else the stage's."""
    causes = list(_causes(trouble))
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "tls"
    if stage is Stage.TUNNELLING:
        return "proxy"
    if any(_is_time_out(cause) for cause in causes):
        return "connect_timeout"
    # A connect is refused, not reset: a reset before the first byte ended a TLS handshake.
    if stage is Stage.SECURING or any(isinstance(cause, ConnectionResetError) for cause in causes):
        return "proxy" if proxied and stage is not Stage.SECURING else "tls"
    if proxied:
        return "proxy"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "dns"
    named = _named(trouble)
    return "refused" if named is None and isinstance(trouble, OSError) else named or "unknown"


def _after(trouble: BaseException, stage: Stage) -> str:
    """Name a failure after the first byte."""
    if any(_is_time_out(cause) for cause in _causes(trouble)):
        return "timeout"
    if any(isinstance(cause, ConnectionResetError | BrokenPipeError) for cause in _causes(trouble)):
        return "reset"
    named = _named(trouble)
    if named == "garbage":
        # h11 has one exception for an answer that is no HTTP and for one that ends too early.
        text = str(trouble)
        if text.startswith("Server disconnected"):
            return "closed"
        if text.startswith("peer closed connection"):
            return "truncated" if stage is Stage.ANSWERING else "closed"
    if named in ("refused", "connect_timeout", "proxy", "dns"):
        # Words for what never left; after the first byte they would be a false comfort.
        return "unknown"
    return named or "unknown"


def _causes(trouble: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that led to it, members of groups too, each once."""
    seen: set[int] = set()
    waiting: list[BaseException] = [trouble]
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            waiting.extend(cause.exceptions)
        waiting.extend(link for link in (cause.__cause__, cause.__context__) if link is not None)


def _is_time_out(cause: BaseException) -> bool:
    return isinstance(cause, TimeoutError) or (
        isinstance(cause, OSError) and cause.errno == errno.ETIMEDOUT
    )


def name_of(kind: type[BaseException]) -> str:
    """Return an exception class as `library.Class`, as `WHY` names it."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _named(trouble: BaseException) -> str | None:
    for kind in type(trouble).__mro__:
        why = WHY.get(name_of(kind))
        if why is not None:
            return why
    return None


def _detail(trouble: BaseException) -> str:
    """Return one line for people; no text of an unknown exception, since it may hold a secret."""
    name = type(trouble).__name__
    known = _named(trouble) is not None and name_of(type(trouble)) not in SILENT_CLASSES
    text = " ".join(str(trouble).split()) if known or isinstance(trouble, OSError) else ""
    line = USERINFO.sub("//", f"{name}: {text}" if text else name)
    return line if len(line) <= LONGEST_DETAIL else line[: LONGEST_DETAIL - 3] + "..."
