"""The forms that are one JSON object a line beside our own row: OpenAI Batch output, and raw.

Both show jobs at rest only: neither form has a word for a job that goes on, and its absence is what
the Batch API itself shows for it.

**Batch.** Succeeded jobs go to the output file, all others to the error file beside it
(api-facts.md 10.10), so that whoever counts the lines of OpenAI's two files counts what our report
counts (cases.md C53):

| job | file | response | error |
|---|---|---|---|
| succeeded | OUT | status_code 200, body: the run object | null |
| rejected or exhausted by HTTP | errors | its status_code, request_id, body {"error"} | null |
| no answer, in doubt, run lost | errors | null | code, message |
| run ended otherwise | errors | null | code, message; the run object stands in `run` beside it |
| cancelled | errors | null | code batch_cancelled; the run, if any, in `run` |

A run that failed was read with HTTP 200. Were it a response with status_code 200, every reader that
looks at the status code alone would count it as a success; so it has no response, and the run is
kept in a field that OpenAI's lines do not have.
"""

from hashlib import blake2b

import msgspec
from msgspec import UNSET, Raw, UnsetType

from runner.core.model import JobState, Reason
from runner.core.outcome import Cause, Outcome
from runner.export.row import mended, verbatim

_encode = msgspec.json.Encoder().encode
_REFUSALS = frozenset({Reason.REJECTED.value, Reason.EXHAUSTED.value})


class _ErrorFields(msgspec.Struct, gc=False):
    """An error as OpenAI spells it in a body."""

    message: str | None
    type: str | None
    param: str | None
    code: str | None


class _ErrorBody(msgspec.Struct, gc=False):
    error: _ErrorFields


class _Response(msgspec.Struct, gc=False):
    status_code: int
    request_id: str | None
    body: Raw | _ErrorBody | None


class _NoResponse(msgspec.Struct, gc=False):
    code: str
    message: str


class _BatchLine(msgspec.Struct, gc=False):
    id: str
    custom_id: str
    response: _Response | None
    error: _NoResponse | None
    run: Raw | UnsetType = UNSET


class _RawLine(msgspec.Struct, gc=False):
    custom_id: str
    status: int | None
    body: Raw | _ErrorBody | None


def batch_line(outcome: Outcome) -> bytes:
    """Return a job at rest as a line of OpenAI's Batch output or error file, newline included.

    `id` is derived from batch, custom_id and generation, so that a second export is the same file.
    """
    try:
        return _encode(_batch_line(outcome)) + b"\n"
    except UnicodeEncodeError:
        return _encode(_batch_line(mended(outcome))) + b"\n"


def raw_line(outcome: Outcome) -> bytes:
    """Return a job at rest as {"custom_id", "status", "body"}, newline included.

    `status` is HTTP's: 200 for a run object, whatever became of the run; else that of the last
    refusal, its body put together from the error that was kept; both null where no answer came.
    """
    try:
        return _encode(_raw_line(outcome)) + b"\n"
    except UnicodeEncodeError:
        return _encode(_raw_line(mended(outcome))) + b"\n"


def _batch_line(o: Outcome) -> _BatchLine:
    run = None if o.run is None else verbatim(o.run)
    if o.state is JobState.SUCCEEDED:
        return _BatchLine(_line_id(o), o.custom_id, _Response(200, None, run), None)
    refusal = _refusal(o)
    if refusal is not None:
        return _BatchLine(_line_id(o), o.custom_id, refusal, None)
    return _BatchLine(
        _line_id(o), o.custom_id, None, _no_response(o), UNSET if run is None else run
    )


def _raw_line(o: Outcome) -> _RawLine:
    if o.run is not None:
        return _RawLine(o.custom_id, 200, verbatim(o.run))
    if o.error is not None and o.error.http_status is not None:
        return _RawLine(o.custom_id, o.error.http_status, _error_body(o.error))
    return _RawLine(o.custom_id, None, None)


def _refusal(o: Outcome) -> _Response | None:
    """Return the HTTP refusal that ended a job, None where something else did.

    A 5xx that left the job in doubt is no refusal: the run may exist.
    """
    error = o.error
    if o.state is not JobState.FAILED or o.status not in _REFUSALS or error is None:
        return None
    if error.http_status is None or error.http_status < 400:
        return None
    return _Response(error.http_status, error.request_id, _error_body(error))


def _no_response(o: Outcome) -> _NoResponse:
    cause = o.error or Cause()
    if o.state is JobState.CANCELLED:
        return _NoResponse("batch_cancelled", cause.message or "the job was cancelled")
    word = o.status or o.state.value
    return _NoResponse(
        cause.code or cause.type or word, cause.message or f"the job ended as {word}"
    )


def _error_body(cause: Cause) -> _ErrorBody:
    return _ErrorBody(_ErrorFields(cause.message, cause.type, None, cause.code))


def _line_id(o: Outcome) -> str:
    named = f"{o.batch}\0{o.custom_id}\0{o.generation}".encode(errors="surrogatepass")
    return "batch_req_" + blake2b(named, digest_size=16).hexdigest()
