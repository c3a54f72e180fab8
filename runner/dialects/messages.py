"""Reads a run's answer from the messages that it wrote: it is not in the run object."""

from collections.abc import Iterator

from runner.dialects.run_object import read_object


def wrote_it(message: bytes, run_id: str) -> bool:
    """Whether a run wrote a message, also where a server passed over the `run_id` filter.

    A message that names no run counts where an assistant speaks.
    """
    told = read_object(message)[1]
    author = told.get("run_id")
    return author == run_id if isinstance(author, str) and author else _is_answer(told)


def output_text(messages: list[bytes]) -> str | None:
    """Return the text of the assistant's messages, one part a line; None where there is none."""
    texts = [
        text
        for told in (read_object(message)[1] for message in messages)
        if _is_answer(told)
        for text in _texts(told.get("content"))
    ]
    return "\n".join(texts) if texts else None


def texts_of(content: object) -> str:
    """Return the text of a message's or a delta's content, joined without a gap."""
    return "".join(_texts(content))


def _is_answer(told: dict[str, object]) -> bool:
    return told.get("role") == "assistant"


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        text = part.get("text") if isinstance(part, dict) else None
        # An answer's text is {"value", "annotations"}, a request's a string.
        value = text.get("value") if isinstance(text, dict) else text
        if isinstance(value, str):
            yield value
