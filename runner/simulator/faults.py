"""The trouble that can be had: one table, the dice, and the plan that a run's metadata may carry.

The metadata key `fault` holds a list such as `rate_429:2,drop_after`: the first two creates that
carry this tag are refused, the third makes its run and loses the answer, the fourth is served.
"""

import email.utils
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    `made` says whether the request is carried out. `wire` is what becomes of the connection:
    `answer` (an answer is sent), `close` (FIN, no byte), `reset` (RST, no byte), `half` (half of
    the body, then FIN), `stall` (nothing for a while, then FIN), `late` (RST, carried out later),
    `repeat` (carried out twice, answered once), `idle` (answered, then closed without notice).
    With `status` an answer of the fault's own replaces the true one.
    """

    made: bool
    wire: str = "answer"
    status: int = 0
    body: bytes = b""
    headers: Headers = ()


def _error(message: str, kind: str, code: str | None) -> bytes:
    told = f'"{code}"' if code else "null"
    return (
        f'{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{told}}}}}'.encode()
    )


_HTML = b"<html>\r\n<head><title>%s</title></head>\r\n<body><h1>%s</h1></body>\r\n</html>\r\n"
_PAGE: Headers = ((b"content-type", b"text/html"),)
_SERVER = _error("The server had an error while processing your request.", "server_error", None)
_RATE = _error("Rate limit reached for requests.", "requests", "rate_limit_exceeded")
_QUOTA = _error(
    "You exceeded your current quota, please check your plan and billing details.",
    "insufficient_quota",
    "insufficient_quota",
)

FAULTS: dict[str, Fault] = {
    "reset_before": Fault(made=False, wire="reset"),
    "close_before": Fault(made=False, wire="close"),
    "stall_before": Fault(made=False, wire="stall"),
    "late": Fault(made=False, wire="late"),
    "drop_after": Fault(made=True, wire="close"),
    "reset_after": Fault(made=True, wire="reset"),
    "truncate": Fault(made=True, wire="half"),
    "stall_after": Fault(made=True, wire="stall"),
    "repeat": Fault(made=True, wire="repeat"),
    "close_idle": Fault(made=True, wire="idle"),
    "error_500": Fault(made=False, status=500, body=_SERVER),
    "error_500_after": Fault(made=True, status=500, body=_SERVER),
    "error_503": Fault(
        made=False,
        status=503,
        body=_error("Overloaded.", "service_unavailable_error", "server_is_overloaded"),
        headers=((b"retry-after", b"1"),),
    ),
    "html_502": Fault(
        made=False, status=502, body=_HTML % ((b"502 Bad Gateway",) * 2), headers=_PAGE
    ),
    "gateway_504_after": Fault(
        made=True, status=504, body=_HTML % ((b"504 Gateway Time-out",) * 2), headers=_PAGE
    ),
    "no_id_after": Fault(made=True, status=200, body=b'{"object":"thread.run","status":"queued"}'),
    "garbage_after": Fault(made=True, status=200, body=b'{"id":"run_\x00\xff\xfe'),
    "rate_429": Fault(made=False, status=429, body=_RATE, headers=((b"retry-after-ms", b"150"),)),
    "rate_429_seconds": Fault(made=False, status=429, body=_RATE),
    "rate_429_date": Fault(made=False, status=429, body=_RATE),
    "rate_429_bare": Fault(made=False, status=429, body=_RATE),
    "quota_429": Fault(made=False, status=429, body=_QUOTA),
    "credit_400": Fault(
        made=False,
        status=400,
        body=_error("Your credit balance is too low to run this.", "invalid_request_error", None),
    ),
    "usage_limit_400": Fault(
        made=False,
        status=400,
        body=_error(
            "You have reached your specified API usage limits."
            " You will regain access on 2027-01-01 at 00:00 UTC.",
            "invalid_request_error",
            None,
        ),
    ),
    "unauthorized_401": Fault(
        made=False,
        status=401,
        body=_error("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    ),
    "forbidden_403": Fault(
        made=False,
        status=403,
        body=_error("You have no access to this project.", "invalid_request_error", None),
    ),
    "gone_404": Fault(
        made=False, status=404, body=_error("Not found", "invalid_request_error", None)
    ),
    "timeout_408": Fault(
        made=False, status=408, body=_error("Request timeout.", "invalid_request_error", None)
    ),
    "conflict_409": Fault(
        made=False, status=409, body=_error("Lock timeout.", "invalid_request_error", None)
    ),
    "moved_307": Fault(made=False, status=307, headers=((b"location", b"/elsewhere/v1/threads"),)),
}


def timed_headers(name: str, retry_after: str, now: float) -> Headers:
    """Return the headers that depend on the settings or the clock, for the 429s that have any."""
    if name == "rate_429_seconds":
        return ((b"retry-after", retry_after.encode("latin-1", "replace")),)
    if name == "rate_429_date":
        # RFC 9110 5.6.7: whole seconds, so the date lies between 1 and 2 s ahead.
        return ((b"retry-after", email.utils.formatdate(now + 2, usegmt=True).encode()),)
    return ()


def drawn(shares: dict[str, float], rng: Random) -> str | None:
    """Draw the name of a fault, or None."""
    if not shares:
        return None
    roll = rng.random()
    for name, share in shares.items():
        if roll < share:
            return name
        roll -= share
    return None


def planned(text: str, tried: int) -> str | None:
    """Return the fault of create number `tried` (from 0) by a plan such as `rate_429:2,late`."""
    for name in _spelt_out(text):
        if tried == 0:
            return name if name in FAULTS else None
        tried -= 1
    return None


def _spelt_out(text: str) -> Iterator[str]:
    for step in text.split(","):
        name, _, times = step.strip().partition(":")
        for _ in range(min(int(times), 1000) if times.isdecimal() else 1):
            yield name
