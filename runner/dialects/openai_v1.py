"""OpenAI's Assistants API as it was in 2023 (v1): fewer fields, the `retrieval` tool."""

from types import MappingProxyType

from runner.dialects.dialect import Dialect, Options
from runner.dialects.fields import OPENAI_V1, CreateRun, CreateRunV1
from runner.dialects.line import LineCheck
from runner.dialects.openai import STATUSES, Assistants
from runner.dialects.options import settled

_LATER = {
    name: "is a field of v2, which v1 does not know; drop it, or use the dialect openai"
    for name in (*CreateRun.__struct_fields__, "include")
    if name not in CreateRunV1.__struct_fields__
}


def make(options: Options) -> Dialect:
    """Return the dialect `openai-v1`."""
    chosen = settled("openai-v1", options, {})
    return Assistants(
        name="openai-v1",
        lines=LineCheck(OPENAI_V1, tag=chosen["tag"], elsewhere=_LATER),
        beta="assistants=v1",
        # `incomplete` came with v2.
        statuses=MappingProxyType(
            {word: kind for word, kind in STATUSES.items() if word != "incomplete"}
        ),
    )
