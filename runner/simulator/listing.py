"""Lists of objects by pages with cursors, as api-facts 4 has them."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from runner.simulator.exchange import Page
from runner.simulator.objects import Object
from runner.simulator.refusals import Refusal

T = TypeVar("T")


def listed(
    ordered: Iterable[T], page: Page, *, name: Callable[[T], str], show: Callable[[T], Object]
) -> Object:
    """Return one page of `ordered` (already in the page's order).

    `after` begins behind that object; `before` gives the page that ends before it. An unknown
    cursor is refused: a client that lost its place must not take an empty page for the end.
    """
    if page.before:
        chosen, more = _before(ordered, page, name)
    else:
        rest = iter(ordered)
        if page.after and not any(name(one) == page.after for one in rest):
            raise _unknown("after", page.after)
        chosen = list(islice(rest, page.limit + 1))
        more = len(chosen) > page.limit
        chosen = chosen[: page.limit]
    return {
        "object": "list",
        "data": [show(one) for one in chosen],
        "first_id": name(chosen[0]) if chosen else None,
        "last_id": name(chosen[-1]) if chosen else None,
        "has_more": more,
    }


def _before(ordered: Iterable[T], page: Page, name: Callable[[T], str]) -> tuple[list[T], bool]:
    earlier: list[T] = []
    for one in ordered:
        if name(one) == page.before:
            return earlier[-page.limit :], len(earlier) > page.limit
        earlier.append(one)
    raise _unknown("before", page.before)


def _unknown(param: str, cursor: str) -> Refusal:
    return Refusal(
        400, f"Invalid '{param}': no object '{cursor[:60]}'.", kind="unknown_cursor", param=param
    )
