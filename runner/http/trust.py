"""Which certificates are believed."""

import ssl
from pathlib import Path

import certifi

from runner.core.errors import UsageError, quoted


def trust(cert_file: str = "", cert_dir: str = "") -> ssl.SSLContext:
    """Return the one SSL context that all connections share.

    With neither argument the system's certificates and those of certifi are both believed:
    a slim image has none of its own. With `cert_file` (SSL_CERT_FILE) or `cert_dir` (SSL_CERT_DIR),
    as config read them, only those. Raises UsageError for a file that cannot be used.
    """
    if not cert_file and not cert_dir:
        context = ssl.create_default_context(cafile=certifi.where())
        context.load_default_certs()
    else:
        setting, path = ("SSL_CERT_FILE", cert_file) if cert_file else ("SSL_CERT_DIR", cert_dir)
        if cert_dir and not Path(cert_dir).is_dir():
            raise UsageError(
                f"{quoted(cert_dir)} is no directory", where="SSL_CERT_DIR", remedy="correct it"
            )
        try:
            context = ssl.create_default_context(cafile=cert_file or None, capath=cert_dir or None)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"{quoted(path)} cannot be read as certificates ({error.strerror or error})",
                where=setting,
                remedy="point it at a PEM file, or unset it",
            ) from error
    # aiohttp leaves a given context as it is; without ALPN some gateways choose HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    return context


def untrusting() -> ssl.SSLContext:
    """Return a context that believes nobody, for where TLS is not spoken."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
