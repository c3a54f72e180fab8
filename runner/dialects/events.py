"""Reads the server-sent events of a run (openai/openai-openapi 2.3.0, AssistantStreamEvent)."""

from collections.abc import Mapping

from runner.core.model import ApiError, Kind
from runner.dialects.dialect import StreamNews, Tag, UnreadableError
from runner.dialects.messages import texts_of
from runner.dialects.refusals import error_in
from runner.dialects.run_object import cut, read_object, read_run

_RUN = "thread.run."
_STEP = "thread.run.step."
_NOTHING = StreamNews()


def read_event(name: str, data: str, tag: Tag, statuses: Mapping[str, Kind]) -> StreamNews:
    """Return what an event tells; an unknown one, or one that cannot be read, tells nothing.

    A stream says nothing that a GET would not say too, so an unreadable event is no doubt.
    """
    if name == "done" or data.startswith("[DONE]"):
        return StreamNews(done=True)
    body = data.encode("utf-8", "replace")
    try:
        if name.startswith(_RUN) and not name.startswith(_STEP):
            return StreamNews(run=read_run(body, tag, statuses))
        if name == "thread.message.delta":
            delta = read_object(body)[1].get("delta")
            return StreamNews(
                delta=texts_of(delta.get("content") if isinstance(delta, dict) else "")
            )
        if name == "error":
            return StreamNews(error=_error(data, body))
        if not name.startswith("thread."):
            # Some servers name no events, and yet tell of errors.
            told = read_object(body)[1]
            return StreamNews(error=error_in(told)) if told.get("error") else _NOTHING
    except UnreadableError:
        pass
    return _NOTHING


def _error(data: str, body: bytes) -> ApiError:
    try:
        return error_in(read_object(body)[1])
    except UnreadableError:
        return ApiError(message=cut(data.strip().strip('"')))
