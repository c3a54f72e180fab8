"""Read what ran elsewhere, so that `queue --from-results` runs here only what failed there."""

from collections.abc import Iterable, Iterator

import msgspec

from runner.core.errors import UsageError, quoted
from runner.core.model import JobState

# Words by which known APIs say, in a 2xx body, that it did not end well (api-facts.md 3, 10). A
# word that nobody knows counts as well done: to run it again would pay twice.
_UNDONE = frozenset(
    {"failed", "incomplete", "cancelled", "cancelling", "expired", "error", "timeout"}
    | {"interrupted", "queued", "pending", "running", "in_progress", "requires_action"}
)
_NULL = frozenset({b"", b"null"})


class _Line(msgspec.Struct, gc=False):
    """Any of the known lines: which one is told by the fields that are there."""

    custom_id: str
    state: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    body: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct, gc=False):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct, gc=False):
    status: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


def from_results(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, bool]]:
    """Yield each line's custom_id and whether it ended well there.

    Reads our results rows (JSONL), OpenAI Batch output and error lines, and raw lines, also mixed;
    blank lines are passed over. A custom_id may come several times: well once is well. Ended well
    is: `state` succeeded; else a 2xx, no error, and a body whose own status and error do not deny
    it. `name` is the file's, for errors.

    Raises `UsageError` at the first line that is none of these: to take it for a failure would run
    again what was paid for.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if not text:
            continue
        try:
            yield _read(text)
        except (msgspec.MsgspecError, RecursionError, ValueError) as trouble:
            raise UsageError(
                f"no results line: {quoted(text[:200].decode(errors='replace'))}",
                where=f"{name}:{number}",
                remedy="give rows of an export (jsonl, batch, raw) or OpenAI Batch output lines",
            ) from trouble


def _read(text: bytes) -> tuple[str, bool]:
    line = msgspec.json.decode(text, type=_Line)
    if bytes(line.state):
        state = JobState(msgspec.json.decode(line.state, type=str))
        return line.custom_id, state is JobState.SUCCEEDED
    if bytes(line.response) or bytes(line.error):
        return line.custom_id, _is_null(line.error) and _answered_well(line.response)
    if bytes(line.status) and bytes(line.body):
        status = msgspec.json.decode(line.status, type=int | None)
        return line.custom_id, _is_success(status or 0) and _says_well(line.body)
    raise ValueError("neither state, nor response, nor status and body")


def _answered_well(raw: msgspec.Raw) -> bool:
    if _is_null(raw):
        return False
    response = msgspec.json.decode(raw, type=_Response)
    return _is_success(response.status_code) and _says_well(response.body)


def _says_well(raw: msgspec.Raw) -> bool:
    if not bytes(raw).lstrip().startswith(b"{"):
        return not _is_null(raw)
    body = msgspec.json.decode(raw, type=_Body)
    if not _is_null(body.error):
        return False
    status = bytes(body.status)
    return not (status.startswith(b'"') and msgspec.json.decode(status, type=str) in _UNDONE)


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _is_null(raw: msgspec.Raw) -> bool:
    return bytes(raw) in _NULL
