"""Where requests go and what goes with each: base URL, headers, proxy, certificates, limits."""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from runner.core.call import Call
from runner.core.errors import UsageError, quoted

DEFAULT_PORTS = {"http": 80, "https": 443}
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
UNSAFE = re.compile(r"[\x00-\x20\x7f]")
# A caller's value of these would frame the request otherwise than we do.
OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"})


@dataclass(frozen=True, slots=True)
class Route:
    """Everything that a sender needs to know once.

    `base_url` is as `check_base_url` returns it; `proxy` is a proxy's URL or "". `headers` and
    `proxy` may hold secrets and stay out of the repr. Times in seconds: `connect_s` bounds name,
    TCP, proxy and TLS together (`protocol.md`, defaults); a connection that idled longer than
    `keep_s` is not used again, for a create `keep_create_s`: below the 5 s of uvicorn, so that a
    create seldom meets a connection that is being closed. `longest_s` is what the kernel grants
    bytes without acknowledgement (TCP_USER_TIMEOUT).
    """

    base_url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    proxy: str = field(default="", repr=False)
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)
    connect_s: float = 5.0
    keep_s: float = 30.0
    keep_create_s: float = 4.0
    longest_s: float = 60.0


def check_base_url(url: str) -> str:
    """Return a base URL in its one spelling: scheme and host lower, no default port, no slash.

    Raises UsageError for a scheme other than http and https, a missing host, a bad port, a query,
    a fragment, or a user and password (which would end up in logs and in the batch's row).
    """
    parts = _split(url.strip())
    if "@" in parts.netloc:
        raise UsageError(
            "base URL holds a user or password",
            where="--base-url",
            remedy="leave it out and use --api-key-file or --header",
        )
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise UsageError(
            f"base URL {quoted(url)} has a query or a fragment",
            where="--base-url",
            remedy="leave out all from '?' or '#' on",
        )
    host, port = _host_and_port(parts, url)
    return f"{parts.scheme.lower()}://{host}{port}{parts.path.rstrip('/')}"


def _split(url: str) -> SplitResult:
    shown = quoted(re.sub(r"//[^/]*@", "//", url))
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(
            f"base URL {shown} cannot be read ({error})",
            where="--base-url",
            remedy="write it as https://host/v1",
        ) from error
    if parts.scheme.lower() not in DEFAULT_PORTS or UNSAFE.search(url) or not url.isascii():
        raise UsageError(
            f"base URL {shown} is no http or https URL",
            where="--base-url",
            remedy="write it as https://host/v1",
        )
    return parts


def _host_and_port(parts: SplitResult, url: str) -> tuple[str, str]:
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(
            f"base URL {quoted(url)} has no port that can be used",
            where="--base-url",
            remedy="give a port from 1 to 65535",
        ) from error
    if not host or port == 0:
        raise UsageError(
            f"base URL {quoted(url)} names no {'host' if not host else 'port that can be used'}",
            where="--base-url",
            remedy="write it as https://host/v1",
        )
    host = f"[{host}]" if ":" in host else host
    return host, f":{port}" if port not in (None, DEFAULT_PORTS[parts.scheme.lower()]) else ""


def check_headers(headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return headers with lower-case names; raise UsageError for one that HTTP cannot carry.

    Checked here because a client would refuse it on every send, after its first byte for all that
    we could prove: a slip in a setting would then put every job in doubt. Values are not shown.
    """
    for name, value in headers:
        if not TOKEN.fullmatch(name) or name.lower() in OURS:
            reason = "is set by Runner" if name.lower() in OURS else "is no name of a header"
            raise UsageError(f"{quoted(name)} {reason}", where="--header", remedy="leave it out")
        if not FIELD_VALUE.fullmatch(value):
            raise UsageError(
                f"the value of {quoted(name)} holds a line break, a control or a non-ASCII sign",
                where="--header",
                remedy="take it out",
            )
    return tuple((name.lower(), value.strip()) for name, value in headers)


class Headings:
    """Makes the headers of each call from those of the route."""

    __slots__ = ("_fixed", "_names")

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        given = {name for name, _ in headers}
        # Named bodies only: a body that we cannot undo would be doubt.
        defaults = (("accept-encoding", "identity"), ("user-agent", "runner"))
        self._fixed = [*(pair for pair in defaults if pair[0] not in given), *headers]
        self._names = frozenset(name for name, _ in self._fixed)

    def of(self, call: Call) -> list[tuple[str, str]]:
        """Return a call's headers, lower-case names; a call's own value stands for the route's."""
        own = [(name.lower(), value) for name, value in call.headers]
        named = {name for name, _ in own}
        fixed = self._fixed
        if not named.isdisjoint(self._names):
            fixed = [pair for pair in fixed if pair[0] not in named]
        headers = [*fixed, *own]
        named |= self._names
        if "accept" not in named:
            kind = "text/event-stream" if call.streams else "application/json"
            headers.append(("accept", kind))
        if call.body is not None and "content-type" not in named:
            headers.append(("content-type", "application/json"))
        return headers
