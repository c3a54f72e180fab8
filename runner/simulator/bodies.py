"""The request bodies with every documented bound (api-facts 1, 4), and how a bad one is told."""

import re
from typing import Annotated, Literal, TypeVar

import msgspec

from runner.simulator.refusals import Refusal

Metadata = Annotated[
    dict[
        Annotated[str, msgspec.Meta(max_length=64)],
        Annotated[str, msgspec.Meta(max_length=512)],
    ],
    msgspec.Meta(max_length=16),
]
JsonObject = dict[str, msgspec.Raw]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """The specification has `additionalProperties: false` everywhere."""


class CodeInterpreter(_Strict, tag="code_interpreter"):
    """A tool without settings."""


class RankingOptions(_Strict):
    """How file search ranks."""

    score_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)]
    ranker: Literal["auto", "default_2024_08_21"] = "auto"


class FileSearchSettings(_Strict):
    """How many results, and how ranked."""

    max_num_results: Annotated[int, msgspec.Meta(ge=1, le=50)] | None = None
    ranking_options: RankingOptions | None = None


class FileSearch(_Strict, tag="file_search"):
    """The search tool of v2."""

    file_search: FileSearchSettings | None = None


class Retrieval(_Strict, tag="retrieval"):
    """The search tool of v1."""


class FunctionSpec(_Strict):
    """A function that the client answers for."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Function(_Strict, tag="function"):
    """A function tool."""

    function: FunctionSpec


Tool = CodeInterpreter | FileSearch | Retrieval | Function


class TextPart(_Strict, tag="text"):
    """Text of a message, a plain string in requests."""

    text: str


class ImageUrl(_Strict):
    """Where an image lies."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageUrlPart(_Strict, tag="image_url"):
    """An image by address."""

    image_url: ImageUrl


class ImageFile(_Strict):
    """An uploaded image."""

    file_id: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageFilePart(_Strict, tag="image_file"):
    """An image by file id."""

    image_file: ImageFile


Parts = Annotated[list[TextPart | ImageUrlPart | ImageFilePart], msgspec.Meta(min_length=1)]


class Attachment(_Strict):
    """A file for tools."""

    file_id: str | None = None
    tools: list[CodeInterpreter | FileSearch] | None = None


class MessageBody(_Strict):
    """Create message, and each of `additional_messages` and `thread.messages`."""

    role: Literal["user", "assistant"]
    content: str | Parts
    attachments: list[Attachment] | None = None
    metadata: Metadata | None = None
    file_ids: Annotated[list[str], msgspec.Meta(max_length=10)] | None = None  # v1

    def text(self) -> str:
        """Return the text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return " ".join(part.text for part in self.content if isinstance(part, TextPart))


class Truncation(_Strict):
    """Which messages are left out."""

    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, msgspec.Meta(ge=1)] | None = None


class FunctionName(_Strict):
    """A function by name."""

    name: str


class ToolChoice(_Strict):
    """A certain tool."""

    type: Literal["function", "code_interpreter", "file_search"]
    function: FunctionName | None = None


class TextFormat(_Strict, tag="text"):
    """Plain text."""


class JsonFormat(_Strict, tag="json_object"):
    """Any JSON object."""


class JsonSchema(_Strict):
    """A named schema."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    schema: JsonObject | None = None
    strict: bool | None = None


class SchemaFormat(_Strict, tag="json_schema"):
    """JSON by a schema."""

    json_schema: JsonSchema


class RunBody(_Strict):
    """Create run. Null is allowed where the specification allows it."""

    assistant_id: str
    model: str | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    instructions: Annotated[str, msgspec.Meta(max_length=256_000)] | None = None
    additional_instructions: str | None = None
    additional_messages: list[MessageBody] | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=20)] | None = None
    metadata: Metadata | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    stream: bool | None = None
    # The specification says 256; 16 was seen accepted (openai/openai-node#1465).
    max_prompt_tokens: Annotated[int, msgspec.Meta(ge=16)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=16)] | None = None
    truncation_strategy: Truncation | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool = True
    response_format: Literal["auto"] | TextFormat | JsonFormat | SchemaFormat | None = None


class ThreadBody(_Strict):
    """Create thread."""

    messages: Annotated[list[MessageBody], msgspec.Meta(max_length=32)] | None = None
    tool_resources: JsonObject | None = None
    metadata: Metadata | None = None


class ThreadChange(_Strict):
    """Modify thread."""

    tool_resources: JsonObject | None = None
    metadata: Metadata | None = None


class RunChange(_Strict):
    """Modify run: metadata only."""

    metadata: Metadata | None = None


class ToolOutput(_Strict):
    """The answer to one call."""

    tool_call_id: str
    output: str = ""


class OutputsBody(_Strict):
    """Submit tool outputs: all of the round at once."""

    tool_outputs: list[ToolOutput]
    stream: bool | None = None


_Body = TypeVar("_Body")
_PATH = re.compile(r" - at `(?:key` in `)?\$\.?([^`]*)`$")
_NAME = re.compile(r"field `([^`]*)`")


def read(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    """Decode a body; raises the documented 400 for what is unknown, missing or out of bounds."""
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise _complaint(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(
            400,
            "We could not parse the JSON body of your request."
            " (HINT: This likely means you aren't using your HTTP library correctly.)",
            kind="bad_json",
        ) from error


def _complaint(text: str) -> Refusal:
    path = _PATH.search(text)
    where = path.group(1) if path else ""
    said = text[: path.start()] if path else text
    name = _NAME.search(said)
    if name:
        param = f"{where}.{name.group(1)}" if where else name.group(1)
        if "unknown field" in said:
            return Refusal(
                400,
                f"Unknown parameter: '{param}'.",
                kind="unknown_parameter",
                param=param,
                code="unknown_parameter",
            )
        return Refusal(
            400,
            f"Missing required parameter: '{param}'.",
            kind="missing_required_parameter",
            param=param,
            code="missing_required_parameter",
        )
    return Refusal(
        400,
        f"Invalid value for '{where}': {said}.",
        kind="invalid_value",
        param=where or None,
        code="invalid_value",
    )


RUN = msgspec.json.Decoder(RunBody)
THREAD = msgspec.json.Decoder(ThreadBody)
THREAD_CHANGE = msgspec.json.Decoder(ThreadChange)
MESSAGE = msgspec.json.Decoder(MessageBody)
RUN_CHANGE = msgspec.json.Decoder(RunChange)
OUTPUTS = msgspec.json.Decoder(OutputsBody)
OBJECT = msgspec.json.Decoder(JsonObject)
