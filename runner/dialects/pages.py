"""Reads the lists of the OpenAI-shaped APIs to their end, page by page."""

from urllib.parse import quote

import msgspec

from runner.dialects.dialect import UnreadableError
from runner.dialects.run_object import one_line, read_object
from runner.dialects.splice import elements, take_apart

PAGE = 100
"""The greatest page that a list gives (openai/openai-openapi 2.3.0)."""


class _Page(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]
    has_more: bool | None = None
    last_id: str | None = None


class _Named(msgspec.Struct, gc=False):
    id: str = ""


_PAGE = msgspec.json.Decoder(_Page)
_NAMED = msgspec.json.Decoder(_Named)


class Listing:
    """One list while it is read: `query` for the next page, until it no longer `goes_on`."""

    def __init__(self, query: str) -> None:
        self._first = f"limit={PAGE}&{query}"
        self._after = ""
        self._seen: set[str] = set()
        self.goes_on = True

    @property
    def query(self) -> str:
        """The encoded query of the next page."""
        return f"{self._first}&after={quote(self._after, safe='')}" if self._after else self._first

    def take(self, body: bytes) -> list[bytes]:
        """Return a page's entries, each JSON on one line, and note how to go on.

        Raises UnreadableError where the page is none, or where there is more and no way to it: a
        list that was not read whole proves nothing about what is missing from it.
        """
        page = _read(body)
        entries = [bytes(one) for one in page.data]
        full = len(entries) >= PAGE
        self.goes_on = full if page.has_more is None else page.has_more
        if self.goes_on:
            self._after = page.last_id or (_name(entries[-1]) if entries else "")
            if not self._after or self._after in self._seen:
                raise UnreadableError("a list that has more and gives no way to it")
            self._seen.add(self._after)
        return entries


def _read(body: bytes) -> _Page:
    try:
        return _PAGE.decode(one_line(body))
    except (msgspec.DecodeError, RecursionError):
        pass
    raw, parsed = read_object(body)
    if not isinstance(parsed.get("data"), list):
        raise UnreadableError("a list without data")
    has_more, last_id = parsed.get("has_more"), parsed.get("last_id")
    return _Page(
        data=[msgspec.Raw(one) for one in elements(take_apart(raw)["data"])],
        has_more=has_more if isinstance(has_more, bool) else None,
        last_id=last_id if isinstance(last_id, str) else None,
    )


def _name(entry: bytes) -> str:
    try:
        return _NAMED.decode(entry).id
    except msgspec.DecodeError:
        name = read_object(entry)[1].get("id")
        return name if isinstance(name, str) else ""
