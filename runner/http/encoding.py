"""Undoes the compression of an answer's body, whole or in parts.

We ask for `identity`; some gateways compress all the same.
"""

import zlib


class BrokenEncoding(Exception):
    """The body is not what its content-encoding says, or ends inside it."""


class Inflater:
    """Inflates one body: gzip (also several members), zlib, or raw deflate, as browsers do."""

    __slots__ = ("_engine", "_head", "_window")

    def __init__(self, encoding: str) -> None:
        # 16 asks zlib for a gzip header (zlib's manual, inflateInit2); 0: not known yet.
        self._window = 16 + zlib.MAX_WBITS if encoding == "gzip" else 0
        self._engine: zlib._Decompress | None = None
        self._head = b""

    def feed(self, part: bytes) -> bytes:
        """Return what the next bytes hold; raise BrokenEncoding where they are not compressed."""
        if not self._window:
            self._head += part
            if len(self._head) < 2:
                return b""
            part, self._head = self._head, b""
            self._window = zlib.MAX_WBITS if _is_zlib(part) else -zlib.MAX_WBITS
        pieces: list[bytes] = []
        while part:
            if self._engine is None or self._engine.eof:
                self._engine = zlib.decompressobj(self._window)
            try:
                pieces.append(self._engine.decompress(part))
            except zlib.error as error:
                raise BrokenEncoding(str(error)) from error
            part = self._engine.unused_data
        return b"".join(pieces)

    def finish(self) -> None:
        """Raise BrokenEncoding if the body ended too early; no body at all is none too."""
        if self._head or (self._engine is not None and not self._engine.eof):
            raise BrokenEncoding("compressed body ends too early")


def _is_zlib(head: bytes) -> bool:
    """Say whether a "deflate" body has zlib's header (RFC 1950, 2.2); some servers send it raw."""
    return head[0] & 0x0F == 8 and (head[0] * 256 + head[1]) % 31 == 0


def inflater_for(content_encoding: str) -> Inflater | None:
    """Return what undoes a content-encoding, or None where there is nothing that we can undo."""
    encoding = content_encoding.strip().lower().removeprefix("x-")
    return Inflater(encoding) if encoding in ("gzip", "deflate") else None


def inflated(body: bytes, content_encoding: str) -> bytes:
    """Return a whole body without its compression; raise BrokenEncoding where it is broken."""
    inflater = inflater_for(content_encoding)
    if inflater is None:
        return body
    whole = inflater.feed(body)
    inflater.finish()
    return whole
