"""What rate-limit headers say, and what their reset means (docs: budgets, "Headers").

`remaining / reset` as a rate is wrong everywhere: on a rolling log `reset` is when the oldest call
leaves, in a fixed window when it ends, on a bucket when it is full again.
"""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal

from msgspec import Struct

from runner.core.waits import reset_of

ROUND = (1.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 3600.0)
"""Windows that people configure; a measured one within 6 % is taken for the nearest."""

ENOUGH = 4
"""Answers with a reset that tell the meanings apart."""


class Limits(Struct, frozen=True):
    """One dimension of the rate-limit headers; `reset` in seconds, None where absent."""

    limit: float
    remaining: float
    reset: float | None = None


class Seen(Struct, frozen=True):
    """One answer's headers: `at` is the middle of the call."""

    at: float
    used: float
    reset: float


class Meaning(Struct, frozen=True):
    """How the server counts: in a window (rolling or fixed) of so many seconds, or by a bucket."""

    window: float
    bucket: bool


def limits_of(
    headers: Mapping[str, str],
    dimension: Literal["requests", "tokens"] = "requests",
    now_wall_s: float = 0.0,
) -> Limits | None:
    """Read x-ratelimit-{limit,remaining,reset}-<dimension>; None unless limit and remaining stand.

    Negative, absurd and unreadable values are as if absent. `now_wall_s` serves resets that are
    dates.
    """
    limit = _count(headers.get(f"x-ratelimit-limit-{dimension}", ""))
    remaining = _count(headers.get(f"x-ratelimit-remaining-{dimension}", ""))
    if not limit or remaining is None or remaining > limit:
        return None
    reset = reset_of(headers.get(f"x-ratelimit-reset-{dimension}", ""), now_wall_s)
    sane = reset is not None and isfinite(reset) and 0 <= reset <= 86400 * 2
    return Limits(limit, remaining, reset if sane else None)


_SAID_LIMIT = re.compile(r"\blimit:? ([0-9][0-9,]{0,18})\b", re.IGNORECASE)


def token_limit_said(message: str) -> float | None:
    """Return the limit that a refusal's text names ("Limit 90000, Used 89000, Requested 2000.")."""
    said = _SAID_LIMIT.search(message)
    return _count(said[1].replace(",", "")) if said else None


def rounded(window: float) -> float:
    """Return the usual window within 6 % of a measured one, else the measured one."""
    nearest = min(ROUND, key=lambda usual: abs(usual - window))
    return nearest if abs(nearest - window) <= 0.06 * nearest else window


def window_of(seen: Sequence[Seen], limit: float, first_at: float) -> Meaning | None:
    """Return what `reset` means, from the answers so far; None before four that have one.

    The meaning whose constant varies less wins: reset * limit / used (bucket: its filling time) or
    reset + time (window: the instant at which it moves on).
    """
    told = [answer for answer in seen if answer.reset > 0 and answer.used > 0]
    if len(told) < ENOUGH:
        return None
    filling = [answer.reset * limit / answer.used for answer in told]
    moving = [answer.reset + answer.at for answer in told]
    window = max(moving) - first_at
    fills = sum(filling) / len(filling)
    if window <= 0 or (max(filling) - min(filling)) / fills < (max(moving) - min(moving)) / window:
        return Meaning(rounded(fills), bucket=True)
    return Meaning(rounded(window), bucket=False)


def _count(text: str) -> float | None:
    text = text.strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
