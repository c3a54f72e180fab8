"""What an answer that is no success means: one pure table.

`classify` turns an answer into a `Fault`: whose trouble it is (`Cause`) and whether the request may
have made something (`made`). The sources are api-facts.md 5 and protocol.md 2, rows 7 and 8: a
proof is a connection that was never made, a 429, and a 4xx other than 408 and 409 that names no
active run. Everything else about a create is doubt.
"""

import re
from enum import StrEnum

from msgspec import Struct

from runner.core.call import Answer, Silence
from runner.core.model import ApiError

NO_ERROR = ApiError()


class Cause(StrEnum):
    """Whose trouble it is, and so who has to act."""

    UNSENT = "unsent"
    SILENCE = "silence"
    UNREADABLE = "unreadable"
    RATE = "rate"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"
    MONEY = "money"
    KEY = "key"
    RIGHT = "right"
    PLACE = "place"
    BUSY = "busy"
    MISSING = "missing"
    KEY_REUSED = "key_reused"
    REJECTED = "rejected"
    OVERLOADED = "overloaded"
    SERVER = "server"
    GONE_API = "gone_api"


class Fault(Struct, frozen=True):
    """A classified failure.

    `made`: whether a create that got this answer may have made a run. `slow`: the silence of a
    stall (own time-out, 504, 524), after which the doubt wait is at least the time-out.
    `active_run`: the run that the refusal names, "" where the thread is busy without a name.
    `wait_s`: how long the server asks to wait, None where it does not say.
    """

    cause: Cause
    made: bool
    slow: bool = False
    http_status: int = 0
    request_id: str = ""
    error: ApiError = NO_ERROR
    detail: str = ""
    active_run: str = ""
    wait_s: float | None = None

    @property
    def text(self) -> str:
        """One line for people: status, code and message, cut at 200 characters."""
        head = f"HTTP {self.http_status}" if self.http_status else self.cause.value
        code = f" {self.error.code}" if self.error.code else ""
        said = self.error.message or self.detail
        line = " ".join(f"{head}{code}{': ' if said else ''}{said}".split())
        return line if len(line) <= 200 else f"{line[:197]}..."


MONEY_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
    }
)
"""429s and 400s that never clear by waiting (api-facts.md 5)."""

MONEY_TEXT = re.compile(
    r"credit balance is too low|exceeded your current quota|usage limits? (?:has been )?reached"
    r"|reached your (?:specified )?(?:api )?usage limits?|regain access on|billing hard limit"
    r"|insufficient (?:funds|credits?|quota)",
    re.IGNORECASE,
)
CONCURRENCY_TEXT = re.compile(r"concurren|too many (?:active|simultaneous|parallel)", re.IGNORECASE)
TOKENS_TEXT = re.compile(
    r"\btokens? (?:per|an?|/) ?(?:min|hour|day)|\bTP[MD]\b|limit[a-z ]* for tokens", re.IGNORECASE
)
TOO_LARGE_TEXT = re.compile(
    r"request too large|larger than the (?:token|rate) limit", re.IGNORECASE
)
"""A 429 that no waiting mends: the one request is above the whole limit."""
KEY_REUSED_CODES = frozenset({"idempotency_key_conflict", "idempotency_key_reused"})
STALLED = frozenset({504, 522, 524})


def is_money(error: ApiError) -> bool:
    """Whether an error says that the money or the quota is at its end."""
    return (
        error.code in MONEY_CODES
        or error.type in MONEY_CODES
        or bool(MONEY_TEXT.search(error.message))
    )


def classify(
    answer: Answer,
    error: ApiError = NO_ERROR,
    *,
    active_run: str | None = None,
    unreadable: str = "",
    wait_s: float | None = None,
) -> Fault:
    """Return what an answer that is no success means.

    `error` and `active_run` are the dialect's reading of the answer (`active_run` None: the refusal
    is not about a busy thread); `unreadable` says what was wrong with a 2xx.
    """
    if isinstance(answer, Silence):
        cause = Cause.SILENCE if answer.sent else Cause.UNSENT
        said = answer.why + (f" ({answer.detail})" if answer.detail else "")
        return Fault(cause, made=answer.sent, slow=answer.timed_out, detail=said)
    status = answer.status
    cause, made = (
        (Cause.UNREADABLE, True) if 200 <= status < 300 else _refusal(status, error, active_run)
    )
    return Fault(
        cause,
        made=made,
        slow=status in STALLED,
        http_status=status,
        request_id=answer.request_id,
        error=error,
        detail=unreadable,
        active_run=active_run or "",
        wait_s=wait_s,
    )


def _limit(error: ApiError) -> Cause:
    """Return which limit a 429 is about."""
    if error.type == "tokens" or TOKENS_TEXT.search(error.message):
        return Cause.TOKENS
    return Cause.CONCURRENCY if CONCURRENCY_TEXT.search(error.message) else Cause.RATE


def _refusal(  # noqa: C901 - a table reads best as one
    status: int, error: ApiError, active_run: str | None
) -> tuple[Cause, bool]:
    """Return the cause of a non-2xx status, and whether something may have been made."""
    if active_run is not None:
        return Cause.BUSY, True
    if error.code in KEY_REUSED_CODES:
        return Cause.KEY_REUSED, True
    if status < 500 and status not in (408, 409) and is_money(error):
        return Cause.MONEY, False
    match status:
        case 401:
            return Cause.KEY, False
        case 403:
            return Cause.RIGHT, False
        case 404:
            return Cause.MISSING, False
        case 405 | 407 | 415:
            return Cause.PLACE, False
        case 408 | 409:
            return Cause.SERVER, True
        case 429:
            if TOO_LARGE_TEXT.search(error.message):
                return Cause.REJECTED, False
            return _limit(error), False
        case 501:
            return Cause.PLACE, True
        case 503 | 529:
            return Cause.OVERLOADED, True
        case _ if 300 <= status < 400:
            return Cause.PLACE, False
        case _ if 400 <= status < 500:
            return Cause.REJECTED, False
        case _:
            return Cause.SERVER, True
