"""Chooses and opens a sender."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal

from runner.core.errors import UsageError
from runner.http.proxies import Proxies, proxy_for
from runner.http.route import Route, check_base_url, check_headers
from runner.http.sender import Sender
from runner.http.trust import trust, untrusting

HttpChoice = Literal["auto", "httpx", "aiohttp"]


def check_choice(choice: str) -> None:
    """Raise UsageError for a client that is not installed."""
    if choice == "aiohttp" and find_spec("aiohttp") is None:
        raise UsageError(
            "aiohttp is not installed", where="--http", remedy="install 'runner[fast]' or use httpx"
        )


def open_sender(
    choice: HttpChoice = "auto",
    *,
    base_url: str,
    headers: Sequence[tuple[str, str]] = (),
    proxies: Proxies | None = None,
    cert_file: str = "",
    cert_dir: str = "",
    longest_s: float = 60.0,
) -> Sender:
    """Return a sender for one base URL; nothing is connected before its first call.

    `headers` go with every call and hold the key. `longest_s` is the longest time-out that calls
    will have, for the kernel's own (TCP_USER_TIMEOUT). "auto" is aiohttp where it is installed.
    Raises UsageError for a base URL, a header, a proxy, a certificate file or a choice that cannot
    be used. To be closed by `aclose` in the event loop that used it.
    """
    checked = check_base_url(base_url)
    proxy = proxy_for(checked, proxies or Proxies())
    # Loading the certificates costs 15 ms, which a server on http:// does not need. A wrong file
    # is told all the same.
    uses_tls = "https:" in (checked[:6], proxy[:6]) or bool(cert_file or cert_dir)
    route = Route(
        base_url=checked,
        headers=check_headers(headers),
        proxy=proxy,
        trust=trust(cert_file, cert_dir) if uses_tls else untrusting(),
        longest_s=longest_s,
    )
    check_choice(choice)
    if choice == "httpx" or find_spec("aiohttp") is None:
        # httpx costs 0.1 s to import, and aiohttp's sender does without it.
        from runner.http.slots import HttpxSender  # noqa: PLC0415

        return HttpxSender(route)
    # aiohttp is an optional extra, and costs 0.15 s to import.
    from runner.http.aiohttp_sender import AiohttpSender  # noqa: PLC0415

    return AiohttpSender(route)
