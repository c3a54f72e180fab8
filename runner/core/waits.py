"""How long an answer asks us to wait (docs: budgets, "The wait in an answer"). Nothing here raises.

Sources of the forms: RFC 9110 10.2.3 (Retry-After, relative to the answer's own Date), OpenAI's
rate-limit guide (reset durations as Go prints them), openai-python (retry-after-ms comes first),
and the texts "Please try again in 6m0s" and "Try again in 60 seconds" of 429s and failed runs.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from msgspec import Struct

ABSURD_S = 48 * 3600.0
LONG_S = 120.0
POINTLESS_S = 15 * 60.0

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PLAIN = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?")
_PART = re.compile(r"([0-9]{1,20}(?:\.[0-9]{0,20})?)\s*(ms|us|µs|ns|h|m|s)[a-z]*\s*", re.IGNORECASE)
_GO = re.compile(r"(?:[0-9]{1,20}(?:\.[0-9]{0,20})?(?:ms|us|µs|ns|h|m|s))+")
_SAID = re.compile(
    r"\b(?:re)?try\s+(?:again\s+)?(?:in|after)\s+"
    r"((?:[0-9]{1,20}(?:\.[0-9]{1,20})?\s*"
    r"(?:ms|milliseconds?|h|hours?|m|min|mins|minutes?|s|secs?|seconds?)\b\s*"
    r"|[0-9]{1,20}(?:\.[0-9]{1,20})?(?:h|ms|m|s)(?=[0-9]))+)",
    re.IGNORECASE,
)


class Closure(Struct, frozen=True):
    """What a wait means: the seconds to close for, and how loudly to say so.

    `absurd` (above 48 h): close for an hour and let one probe see. `long` (above 120 s): say it at
    once. `pointless` (above 15 min): the command ends with exit 3 and names the time to come back.
    """

    seconds: float
    absurd: bool = False
    long: bool = False
    pointless: bool = False


def closure_of(wait: float) -> Closure:
    """Return what a wait in seconds means for the gate and for the person."""
    absurd = wait > ABSURD_S
    return Closure(3600.0 if absurd else wait, absurd, wait > LONG_S, wait > POINTLESS_S)


def gate_until(now: float, wait: float, step: float, chance: float) -> float:
    """Return when a gate opens: up to a second late, so that two databases do not open together."""
    return now + wait + chance * min(1.0, 4 * step)


def backoff(refusal: int, chance: float) -> float:
    """Return our own wait in seconds after the nth refusal in a row (from 1) that named none."""
    return min(60.0, 2.0 ** min(refusal - 1, 6)) * (1 + 0.25 * chance)


def duration(text: str) -> float | None:
    """Return the seconds of a Go duration such as 6m0s, 20ms or 23h47m36.648s, or of a number."""
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return float(text)
    return _summed(text) if _GO.fullmatch(text) else None


def reset_of(text: str, now_wall_s: float) -> float | None:
    """Return the seconds in a reset header: a duration, else a date or epoch less `now_wall_s`."""
    seconds = duration(text)
    if seconds is None:
        at = _date(text)
        return None if at is None else at - now_wall_s
    # No window lasts thirty years: a number that large is seconds since 1970.
    return seconds - now_wall_s if seconds > 1e9 else seconds


def wait_of(headers: Mapping[str, str], text: str, now_wall_s: float) -> float | None:
    """Return the seconds that a refusal asks for: finite and above 0, or None.

    `headers` have lower-case names, `text` is the error's message, `now_wall_s` is unix seconds and
    serves only where the answer has no Date of its own.
    """
    answered = _date(headers.get("date", ""))
    now = now_wall_s if answered is None else answered
    told = headers.get("retry-after", "")
    milliseconds = _number(headers.get("retry-after-ms", ""))
    date = _date(told)
    return (
        _sane(None if milliseconds is None else milliseconds / 1000)
        or _sane(_number(told))
        or _sane(None if date is None else date - now)
        or _sane(_exhausted(headers, now))
        or _sane(said(text))
    )


def said(text: str) -> float | None:
    """Return the seconds in a sentence such as "try again in 60 seconds", or None."""
    found = _SAID.search(text[:4000])
    return None if found is None else _summed(found[1])


def _exhausted(headers: Mapping[str, str], now: float) -> float | None:
    """Return the longest reset of the dimensions of which nothing remains."""
    resets = [
        reset_of(headers.get(name.replace("remaining", "reset", 1), ""), now)
        for name, value in headers.items()
        if name.startswith("x-ratelimit-remaining") and _number(value) == 0
    ]
    return max((reset for reset in resets if reset is not None), default=None)


def _summed(text: str) -> float:
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(text))


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _PLAIN.fullmatch(text) else None


def _date(text: str) -> float | None:
    """Return unix seconds of an HTTP or ISO date; a date without a zone is UTC."""
    if not text or len(text) > 64:
        return None
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = parse(text.strip())
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _sane(seconds: float | None) -> float | None:
    return seconds if seconds is not None and isfinite(seconds) and seconds > 0 else None
