"""One request as the routes see it, and one answer as they give it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import parse_qsl

import msgspec

from runner.simulator.journal import RunRecord
from runner.simulator.refusals import Refusal

Clock = Callable[[], float]
Advance = Callable[[float], None]
Events = AsyncGenerator[bytes, None]
Telling = Callable[[Clock, Advance], Events]
Kind = Literal["create", "read", "list", "cancel", "tool_outputs", "other"]
Headers = tuple[tuple[bytes, bytes], ...]

JSON: Headers = ((b"content-type", b"application/json"),)


@dataclass(slots=True)
class Asked:
    """A request: `path` in unquoted parts, `base` what stood before; header names in lower case."""

    method: str
    path: tuple[str, ...]
    query: bytes
    headers: dict[str, str]
    body: bytes
    shape: str = ""  # `POST threads/*/runs` and so on, by which routes know it
    kind: Kind = "other"
    base: str = ""
    surface: "Surface" = field(kw_only=True)

    def parameters(self) -> dict[str, str]:
        """Return the query's parameters, the last of each name."""
        return dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True))


@dataclass(slots=True)
class Held:
    """An answer that waits until its run is at rest, and is then drawn by `show`."""

    run: RunRecord
    show: Callable[[], bytes]


@dataclass(slots=True)
class Answer:
    """An answer: whole in `body`, or told by `events`, or `held` back until a run is at rest."""

    status: int
    body: bytes = b""
    headers: Headers = JSON
    events: Telling | None = None
    held: Held | None = None


class Surface(Protocol):
    """The endpoints of one API."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What the audit counts each shape of request as; the rest are `other`."""

    def answer(self, asked: Asked, now: float) -> Answer:
        """Carry out a request as of `now`; raises `Refusal` where the API would refuse."""

    def spell(self, refusal: Refusal, asked: Asked) -> bytes:
        """Return a refusal's body as this API spells it."""


_LITERAL = {("threads", "runs"), ("chat", "completions")}
_WAYS = {"wait", "stream"}  # LangGraph's `runs/wait` and `runs/stream`, which are no ids


def shape(method: str, path: tuple[str, ...]) -> str:
    """Return `POST threads/*/runs` for a create's path, and so on: every second part is an id."""
    if path in _LITERAL:
        return f"{method} {'/'.join(path)}"
    if len(path) == 4 and path[3] in _WAYS:
        return f"{method} threads/*/runs/{path[3]}"
    return f"{method} {'/'.join(['*' if n % 2 else part for n, part in enumerate(path)])}"


@dataclass(slots=True)
class Tags:
    """What a create says of itself in its metadata, read before anything is checked."""

    tag: str = ""
    case: str = ""
    fate: str = ""
    fault: str = ""


class _Peek(msgspec.Struct):
    metadata: dict[str, object] | None = None


_PEEK = msgspec.json.Decoder(_Peek)


def tags(body: bytes, tag_name: str) -> Tags:
    """Read the tags of a create body; none where it cannot be read."""
    try:
        metadata = _PEEK.decode(body).metadata
    except (msgspec.DecodeError, UnicodeDecodeError):
        metadata = None
    if not metadata:
        return Tags()
    said = [metadata.get(name, "") for name in (tag_name, "case", "fate", "fault")]
    return Tags(*(value if isinstance(value, str) else "" for value in said))


@dataclass(frozen=True, slots=True)
class Page:
    """What a list is asked for: api-facts 4."""

    limit: int = 20
    newest_first: bool = True
    after: str = ""
    before: str = ""
    more: dict[str, str] = field(default_factory=dict)


def page(asked: Asked) -> Page:
    """Read the paging parameters; raises the 400 for a bad one."""
    said = asked.parameters()
    limit, order = said.get("limit", "20"), said.get("order", "desc")
    if not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise _bad("limit", f"{limit[:60]} is not between 1 and 100")
    if order not in {"asc", "desc"}:
        raise _bad("order", f"{order[:60]!r} is neither asc nor desc")
    return Page(
        limit=int(limit),
        newest_first=order == "desc",
        after=said.get("after", ""),
        before=said.get("before", ""),
        more=said,
    )


def _bad(param: str, why: str) -> Refusal:
    return Refusal(
        400,
        f"Invalid value for '{param}': {why}.",
        kind="invalid_value",
        param=param,
        code="invalid_value",
    )
