"""Reads how an API refuses: the error that it spells, and the active run that it names.

Compatible servers and the proxies before them spell errors in many ways: OpenAI's nested object,
FastAPI's `detail`, a bare `message`, an int for a code, HTML.
"""

import json
import re
from collections.abc import Mapping

from runner.core.call import Reply
from runner.core.model import ApiError
from runner.dialects.run_object import cut, text_of

_BUSY = re.compile(r"already has an active run|while a run\b.{0,80}?\bis active", re.DOTALL)
_RUN_ID = re.compile(
    r"\b(run_[A-Za-z0-9_-]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b"
)


def error_of(reply: Reply) -> ApiError:
    """Return the error that a reply spells; an empty one where it says nothing."""
    if not reply.body.strip():
        return ApiError()
    try:
        parsed: object = json.loads(reply.body)
    except (ValueError, RecursionError):
        return ApiError(message=_flat(reply.body[:16_384].decode("utf-8", "replace")))
    return error_in(parsed)


def error_in(parsed: object) -> ApiError:
    """Return the error that a parsed answer or event spells."""
    if isinstance(parsed, list):
        # FastAPI's validation errors without their envelope.
        return ApiError(message=_details(parsed))
    if not isinstance(parsed, dict):
        return ApiError(message=cut(text_of(parsed)))
    error = parsed.get("error")
    if isinstance(error, dict):
        return _spelt(error)
    if isinstance(error, str) and error:
        # A token service: {"error": "invalid_client", "error_description": "…"} (RFC 6749, 5.2).
        told = parsed.get("error_description")
        if isinstance(told, str):
            return ApiError(code=error.lower(), message=cut(told))
        return ApiError(code=_word(parsed.get("code")), message=cut(error))
    return _spelt(parsed)


def _spelt(error: Mapping[str, object]) -> ApiError:
    message = error.get("message")
    if message is None:
        message = error.get("detail", error.get("title"))
    return ApiError(
        code=_word(error.get("code")),
        type=_word(error.get("type")),
        message=_details(message) if isinstance(message, list) else cut(text_of(message)),
        param=text_of(error.get("param")),
    )


def _word(value: object) -> str:
    # Cloudflare sends ints, Azure numeric strings.
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).lower()


def _details(details: list[object]) -> str:
    return cut("; ".join(_detail(detail) for detail in details))


def _detail(detail: object) -> str:
    if not isinstance(detail, dict):
        return text_of(detail)
    where = detail.get("loc")
    path = ".".join(text_of(step) for step in where) if isinstance(where, list) else ""
    told = text_of(detail.get("msg", detail.get("message")))
    return f"{path}: {told}" if path else told


def _flat(text: str) -> str:
    return cut(" ".join(text.split()))


def active_run(reply: Reply) -> str | None:
    """Return the active run that a refusal names, "" for a busy thread, None for another refusal.

    The code is null in both of OpenAI's cases, so the text decides (openai/openai-python#1023,
    TripSit/TripBot#939).
    """
    if reply.status not in (400, 409, 422):
        return None
    message = error_of(reply).message
    busy = _BUSY.search(message)
    if busy is None:
        return None
    # The thread's id stands before the phrase and may look like a run's.
    inside, after = _RUN_ID.search(busy[0]), _RUN_ID.search(message, busy.end())
    named = inside or after
    return named[1] if named else ""
