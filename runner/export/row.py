"""The JSONL row of a job, with the run object spliced in as the API's own bytes.

Re-encoding would lose digits, key order and `1.0` against `1` (performance.md B), and cost ten
times as much as splicing.
"""

from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from runner.core.outcome import Cause, Outcome

_encode = msgspec.json.Encoder().encode


class _UsageFields(msgspec.Struct, gc=False):
    """Tokens under the API's names; cached and reasoning tokens are parts, not to be added."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    reasoning_tokens: int


class _Row(msgspec.Struct, gc=False):
    """The row's fields in the order of design.md section 6; what is unset is left out."""

    batch: str
    custom_id: str
    line: int
    state: str
    status: str | None
    thread_id: str | None
    run_id: str | None
    run: Raw | None
    earlier_runs: list[Raw]
    messages: Raw | UnsetType
    output_text: str | UnsetType
    steps: Raw | UnsetType
    deltas: Raw | UnsetType
    error: Cause | None
    attempts: int
    generation: int
    idempotency_key: str
    queued_at: str | None
    created_at: str | None
    ended_at: str | None
    usage: _UsageFields | None
    doubles: tuple[str, ...]
    possible_double: bool


def row_line(outcome: Outcome) -> bytes:
    """Return one results row, its newline included.

    `messages`, `output_text`, `steps` and `deltas` are there only where they were asked for, all
    other fields always. There is no newline but the last.
    """
    try:
        return _encode(_row(outcome)) + b"\n"
    except UnicodeEncodeError:
        return _encode(_row(mended(outcome))) + b"\n"


def _row(o: Outcome) -> _Row:
    u = o.usage
    return _Row(
        o.batch,
        o.custom_id,
        o.line,
        o.state,
        o.status,
        o.thread_id,
        o.run_id,
        None if o.run is None else verbatim(o.run),
        [verbatim(run) for run in o.earlier_runs],
        UNSET if o.messages is None else verbatim(o.messages),
        UNSET if o.output_text is None else o.output_text,
        UNSET if o.steps is None else verbatim(o.steps),
        UNSET if o.deltas is None else verbatim(o.deltas),
        o.error,
        o.attempts,
        o.generation,
        o.idempotency_key,
        iso(o.queued_ms),
        iso(o.created_ms),
        iso(o.ended_ms),
        None if u is None else _UsageFields(u.prompt, u.completion, u.total, u.cached, u.reasoning),
        o.doubles,
        o.possible_double,
    )


def verbatim(raw: bytes) -> Raw:
    """Return JSON bytes to be spliced as they are.

    Raw line breaks (OpenAI's API pretty-prints) become spaces: they cannot stand inside a JSON
    string, and a row that holds one is two lines. Searched for by number: a bytes needle takes ten
    times as long.
    """
    if 10 in raw or 13 in raw:
        return Raw(raw.replace(b"\r", b" ").replace(b"\n", b" "))
    return Raw(raw)


def mended(outcome: Outcome) -> Outcome:
    r"""Return an outcome whose texts can be encoded: half a surrogate pair is spelt out, "\ud83d".

    An answer or an error's text that was cut between the halves must not end the export of ten
    thousand other rows.
    """
    error = outcome.error
    return replace(
        outcome,
        batch=_spelt(outcome.batch),
        custom_id=_spelt(outcome.custom_id),
        status=_spelt_or_none(outcome.status),
        thread_id=_spelt_or_none(outcome.thread_id),
        run_id=_spelt_or_none(outcome.run_id),
        output_text=_spelt_or_none(outcome.output_text),
        doubles=tuple(map(_spelt, outcome.doubles)),
        error=error
        and replace(
            error,
            type=_spelt_or_none(error.type),
            code=_spelt_or_none(error.code),
            message=_spelt_or_none(error.message),
            request_id=_spelt_or_none(error.request_id),
        ),
    )


def _spelt(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _spelt_or_none(text: str | None) -> str | None:
    return None if text is None else _spelt(text)


_MILLIS = tuple(f".{ms:03d}Z" for ms in range(1000))


def iso(ms: int) -> str | None:
    """Return unix milliseconds as ISO 8601 in UTC, "2026-03-01T02:03:04.005Z"; None for 0 (never).

    None too for a time that no calendar holds: a server that gives milliseconds where the API says
    seconds puts the year beyond 50,000, and that must not end the export.
    """
    if ms <= 0:
        return None
    second = _second(ms // 1000)
    return None if second is None else second + _MILLIS[ms % 1000]


@lru_cache(maxsize=4096)
def _second(second: int) -> str | None:
    # Rows that stand together ended together: most seconds come again, and formatting one costs
    # more than the rest of the row.
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return None
