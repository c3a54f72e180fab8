"""Which proxy a base URL is reached through, if any."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from runner.core.errors import UsageError, quoted
from runner.http.route import DEFAULT_PORTS


@dataclass(frozen=True, slots=True)
class Proxies:
    """What HTTP_PROXY, HTTPS_PROXY and NO_PROXY say, as config read them; "" for none.

    A proxy's URL may hold a password, so it stays out of the repr.
    """

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    no: tuple[str, ...] = ()


def proxy_for(base_url: str, proxies: Proxies) -> str:
    """Return the URL of the proxy for a checked base URL, or "" for none.

    Raises UsageError for a proxy that neither client can use (SOCKS, say) or that has no host.
    """
    parts = urlsplit(base_url)
    setting = f"{parts.scheme.upper()}_PROXY"
    proxy = (proxies.https if parts.scheme == "https" else proxies.http).strip()
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    if not proxy or any(_exempts(rule, host, port) for rule in proxies.no):
        return ""
    # "proxy.example:3128" without a scheme is what many write, and what curl takes for http.
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        found = urlsplit(url)
        usable = found.scheme in DEFAULT_PORTS and bool(found.hostname) and found.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = quoted(proxy.rpartition("@")[2])
        raise UsageError(
            f"proxy {shown} is no http or https proxy",
            where=setting,
            remedy="write it as http://host:port, or unset it",
        )
    return url


def _exempts(rule: str, host: str, port: int) -> bool:
    """Say whether one entry of NO_PROXY covers a host.

    `*` covers all; a name covers itself and what ends in it (as curl has it); `name:port` only that
    port; an address or a network in CIDR form covers addresses.
    """
    rule = rule.strip().lower()
    if rule == "*":
        return True
    rule, ruled_port = _split_port(rule)
    name = rule.lstrip("*").lstrip(".").rstrip(".")
    if not name or ruled_port not in (None, port):
        return False
    host = host.rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        return host == name or host.endswith(f".{name}")
    try:
        return address in ip_network(name, strict=False)
    except ValueError:
        return False


def _split_port(rule: str) -> tuple[str, int | None]:
    """Split `name:port` and `[v6]:port`; a bare IPv6 address has colons but no port."""
    if rule.startswith("["):
        name, _, rest = rule[1:].partition("]")
        port = rest.removeprefix(":")
    elif rule.count(":") == 1:
        name, _, port = rule.partition(":")
    else:
        return rule, None
    return name, int(port) if port.isdecimal() else None
