"""The one declared source of what a create-run body may hold, dialect by dialect.

A good line is decoded once into these structs (about a microsecond); a bad one is walked along the
same declarations by `complaints`, so that a bound stands here and nowhere else. Unknown fields are
refused because the API refuses them (`additionalProperties: false`). A field whose type has no
`None` may not be null. Names and bounds: the four seed documents and openai/openai-openapi 2.3.0;
Foundry's: Azure/azure-rest-api-specs, data-plane AI agents v1; v1's: seed 000 and the same OpenAI
repository as of 2023-11-28.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

PAIRS = 16
"""How many pairs a metadata map may have; a tag is one of them."""

FEWEST_COMPLETION_TOKENS = 256
"""The specification's minimum; 16 was accepted in use (openai/openai-node#1465): only warned of."""

MANY_MESSAGES = 32
"""More were refused in a thread in 2023 (openai-php/client#269); not confirmed since: warned of."""

ThreadId: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        pattern=r"\A[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z",
        description="text without control characters or lone surrogates",
    ),
]
Name: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"\A[A-Za-z0-9_-]*\Z",
        description="a name of A-Z, a-z, 0-9, _ and -",
    ),
]
Id: TypeAlias = Annotated[str, Meta(min_length=1)]
Instructions: TypeAlias = Annotated[str, Meta(max_length=256_000)]
Metadata: TypeAlias = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=PAIRS),
]
Include: TypeAlias = Literal["step_details.tool_calls[*].file_search.results[*].content"]
Detail: TypeAlias = Literal["auto", "low", "high"]


class AnyObject(Struct, gc=False):
    """A JSON object whose inside is not ours to judge: a JSON Schema, another vendor's tool."""


# Tools


class CodeInterpreter(
    Struct, tag_field="type", tag="code_interpreter", forbid_unknown_fields=True, gc=False
):
    """The code interpreter tool."""


class RankingOptions(Struct, forbid_unknown_fields=True, gc=False):
    """How file search ranks; the threshold is required once this is given."""

    score_threshold: Annotated[float, Meta(ge=0, le=1)]
    ranker: Literal["auto", "default_2024_08_21"] = "auto"


class FileSearchOptions(Struct, forbid_unknown_fields=True, gc=False):
    """Overrides for the file search tool."""

    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 20
    ranking_options: RankingOptions | UnsetType = UNSET


class FileSearch(Struct, tag_field="type", tag="file_search", forbid_unknown_fields=True, gc=False):
    """The file search tool (v2)."""

    file_search: FileSearchOptions | UnsetType = UNSET


class Retrieval(Struct, tag_field="type", tag="retrieval", forbid_unknown_fields=True, gc=False):
    """The retrieval tool (v1 only)."""


class FunctionV1(Struct, forbid_unknown_fields=True, gc=False):
    """A function to call; no `parameters` means no arguments."""

    name: Name
    description: str = ""
    parameters: AnyObject | UnsetType = UNSET


class Function(FunctionV1, gc=False):
    """A function of v2."""

    strict: bool | None = None


class FunctionTool(Struct, tag_field="type", tag="function", forbid_unknown_fields=True, gc=False):
    """A function tool (v2)."""

    function: Function


class FunctionToolV1(
    Struct, tag_field="type", tag="function", forbid_unknown_fields=True, gc=False
):
    """A function tool (v1)."""

    function: FunctionV1


class BingGrounding(Struct, tag_field="type", tag="bing_grounding", gc=False):
    """A tool of Foundry."""


class BingCustomSearch(Struct, tag_field="type", tag="bing_custom_search", gc=False):
    """A tool of Foundry."""


class AzureAiSearch(Struct, tag_field="type", tag="azure_ai_search", gc=False):
    """A tool of Foundry."""


class FabricDataagent(Struct, tag_field="type", tag="fabric_dataagent", gc=False):
    """A tool of Foundry."""


class SharepointGrounding(Struct, tag_field="type", tag="sharepoint_grounding", gc=False):
    """A tool of Foundry."""


class ConnectedAgent(Struct, tag_field="type", tag="connected_agent", gc=False):
    """A tool of Foundry."""


class Openapi(Struct, tag_field="type", tag="openapi", gc=False):
    """A tool of Foundry."""


class Mcp(Struct, tag_field="type", tag="mcp", gc=False):
    """A tool of Foundry."""


class AzureFunction(Struct, tag_field="type", tag="azure_function", gc=False):
    """A tool of Foundry."""


class DeepResearch(Struct, tag_field="type", tag="deep_research", gc=False):
    """A tool of Foundry."""


class BrowserAutomation(Struct, tag_field="type", tag="browser_automation", gc=False):
    """A tool of Foundry."""


Tool: TypeAlias = CodeInterpreter | FileSearch | FunctionTool
ToolV1: TypeAlias = CodeInterpreter | Retrieval | FunctionToolV1
FoundryTool: TypeAlias = (
    Tool
    | BingGrounding
    | BingCustomSearch
    | AzureAiSearch
    | FabricDataagent
    | SharepointGrounding
    | ConnectedAgent
    | Openapi
    | Mcp
    | AzureFunction
    | DeepResearch
    | BrowserAutomation
)
TOOLS = 20
"""An assistant may have 128 tools, a run 20."""


# Messages


class TextPart(Struct, tag_field="type", tag="text", forbid_unknown_fields=True, gc=False):
    """Text; a string in requests, an object in answers."""

    text: str


class ImageUrl(Struct, forbid_unknown_fields=True, gc=False):
    """An image by address: jpeg, jpg, png, gif, webp."""

    url: Id
    detail: Detail = "auto"


class ImageUrlPart(Struct, tag_field="type", tag="image_url", forbid_unknown_fields=True, gc=False):
    """An image by address."""

    image_url: ImageUrl


class ImageFile(Struct, forbid_unknown_fields=True, gc=False):
    """An image by file, uploaded with purpose `vision`."""

    file_id: Id
    detail: Detail = "auto"


class ImageFilePart(
    Struct, tag_field="type", tag="image_file", forbid_unknown_fields=True, gc=False
):
    """An image by file."""

    image_file: ImageFile


class FileSearchName(
    Struct, tag_field="type", tag="file_search", forbid_unknown_fields=True, gc=False
):
    """File search as an attachment names it: by its type alone."""


class Attachment(Struct, forbid_unknown_fields=True, gc=False):
    """A file and the tools that it is for."""

    file_id: Id | UnsetType = UNSET
    tools: list[CodeInterpreter | FileSearchName] | UnsetType = UNSET


Part: TypeAlias = TextPart | ImageUrlPart | ImageFilePart


class Message(Struct, forbid_unknown_fields=True, gc=False):
    """A message of a request (v2): `additional_messages` and `thread.messages`."""

    role: Literal["user", "assistant"]
    content: str | Annotated[list[Part], Meta(min_length=1)]
    attachments: list[Attachment] | None = None
    metadata: Metadata | None = None


class MessageV1(Struct, forbid_unknown_fields=True, gc=False):
    """A message of a thread (v1)."""

    role: Literal["user"]
    content: Annotated[str, Meta(min_length=1, max_length=32_768)]
    file_ids: Annotated[list[Id], Meta(max_length=10)] | UnsetType = UNSET
    metadata: Metadata | None = None


# Threads


class CodeInterpreterFiles(Struct, forbid_unknown_fields=True, gc=False):
    """The files that a thread's code interpreter sees."""

    file_ids: Annotated[list[Id], Meta(max_length=20)] | UnsetType = UNSET


class FileSearchStores(Struct, forbid_unknown_fields=True, gc=False):
    """The vector store that a thread's file search sees: one, known or made on the way."""

    vector_store_ids: Annotated[list[Id], Meta(max_length=1)] | UnsetType = UNSET
    vector_stores: Annotated[list[AnyObject], Meta(max_length=1)] | UnsetType = UNSET


class ToolResources(Struct, forbid_unknown_fields=True, gc=False):
    """What a thread's tools have at hand."""

    code_interpreter: CodeInterpreterFiles | UnsetType = UNSET
    file_search: FileSearchStores | UnsetType = UNSET


class Thread(Struct, forbid_unknown_fields=True, gc=False):
    """A thread to be made for the job (v2)."""

    messages: list[Message] = []
    tool_resources: ToolResources | None = None
    metadata: Metadata | None = None


class ThreadV1(Struct, forbid_unknown_fields=True, gc=False):
    """A thread to be made for the job (v1)."""

    messages: list[MessageV1] = []
    metadata: Metadata | None = None


class FoundryThread(Struct, forbid_unknown_fields=True, gc=False):
    """A thread to be made for the job (Foundry, whose tools have resources of their own kinds)."""

    messages: list[Message] = []
    tool_resources: AnyObject | None = None
    metadata: Metadata | None = None


# Choices


class KeepAll(Struct, tag_field="type", tag="auto", forbid_unknown_fields=True, gc=False):
    """Truncate where the model must."""

    last_messages: Annotated[int, Meta(ge=1)] | None = None


class KeepLast(Struct, tag_field="type", tag="last_messages", forbid_unknown_fields=True, gc=False):
    """Truncate to the newest messages; without a number it says nothing."""

    last_messages: Annotated[int, Meta(ge=1)]


class ChosenName(Struct, forbid_unknown_fields=True, gc=False):
    """A function by its name."""

    name: Name


class ChooseFunction(
    Struct, tag_field="type", tag="function", forbid_unknown_fields=True, gc=False
):
    """Force one function."""

    function: ChosenName


class ChooseCodeInterpreter(
    Struct, tag_field="type", tag="code_interpreter", forbid_unknown_fields=True, gc=False
):
    """Force the code interpreter."""


class ChooseFileSearch(
    Struct, tag_field="type", tag="file_search", forbid_unknown_fields=True, gc=False
):
    """Force file search."""


class FormatText(Struct, tag_field="type", tag="text", forbid_unknown_fields=True, gc=False):
    """Plain text."""


class FormatJson(Struct, tag_field="type", tag="json_object", forbid_unknown_fields=True, gc=False):
    """Some JSON object; a message must ask for it."""


class JsonSchema(Struct, forbid_unknown_fields=True, gc=False):
    """A named JSON Schema."""

    name: Name
    description: str = ""
    schema: AnyObject | UnsetType = UNSET
    strict: bool | None = None


class FormatSchema(
    Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True, gc=False
):
    """JSON by a schema."""

    json_schema: JsonSchema


ToolChoice: TypeAlias = (
    Literal["none", "auto", "required"] | ChooseFunction | ChooseCodeInterpreter | ChooseFileSearch
)
FoundryToolChoice: TypeAlias = (
    Literal["none", "auto"] | ChooseFunction | ChooseCodeInterpreter | ChooseFileSearch
)
ResponseFormat: TypeAlias = Literal["auto"] | FormatText | FormatJson | FormatSchema
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


# The create-run body


class CreateRunV1(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The body of v1 (seeds 000 and 002)."""

    assistant_id: Id
    model: str | None = None
    instructions: Instructions | None = None
    additional_instructions: str | None = None
    tools: Annotated[list[ToolV1], Meta(max_length=TOOLS)] | None = None
    metadata: Metadata | None = None


class SharedFields(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """What v2 and Foundry have alike (seeds 001 and 003, and the specification of 2026-08)."""

    assistant_id: Id
    model: str | None = None
    reasoning_effort: Effort | None = None
    instructions: Instructions | None = None
    additional_instructions: str | None = None
    additional_messages: list[Message] | None = None
    metadata: Metadata | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stream: bool | None = None
    max_prompt_tokens: Annotated[int, Meta(ge=256)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    truncation_strategy: KeepAll | KeepLast | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None


class CreateRun(SharedFields, kw_only=True, gc=False):
    """The body of v2, and of Azure."""

    tools: Annotated[list[Tool], Meta(max_length=TOOLS)] | None = None
    tool_choice: ToolChoice | None = None


class FoundryCreateRun(SharedFields, kw_only=True, gc=False):
    """The body of Foundry: more tools, and what the tools have at hand."""

    tools: Annotated[list[FoundryTool], Meta(max_length=TOOLS)] | None = None
    tool_choice: FoundryToolChoice | None = None
    tool_resources: AnyObject | None = None


# Manifest lines


# Structs cannot inherit from two others that have fields, so three fields stand three times.
# `custom_id` is the reader's.


class NativeV1(CreateRunV1, kw_only=True, gc=False):
    """A native line of v1."""

    custom_id: Raw = Raw()
    thread_id: ThreadId | None = None
    tool_outputs: dict[str, str] | None = None
    thread: ThreadV1 | None = None


class Native(CreateRun, kw_only=True, gc=False):
    """A native line of v2 and Azure."""

    custom_id: Raw = Raw()
    thread_id: ThreadId | None = None
    tool_outputs: dict[str, str] | None = None
    thread: Thread | None = None
    include: list[Include] | None = None


class FoundryNative(FoundryCreateRun, kw_only=True, gc=False):
    """A native line of Foundry."""

    custom_id: Raw = Raw()
    thread_id: ThreadId | None = None
    tool_outputs: dict[str, str] | None = None
    thread: FoundryThread | None = None
    include: list[Include] | None = None


class BatchEnvelope(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """An OpenAI Batch line without its body (openai/openai-openapi, branch manual_spec)."""

    custom_id: Raw = Raw()
    method: Literal["POST"]
    url: str


class BatchV1(BatchEnvelope, kw_only=True, gc=False):
    """A Batch line of v1."""

    body: CreateRunV1


class Batch(BatchEnvelope, kw_only=True, gc=False):
    """A Batch line of v2 and Azure."""

    body: CreateRun


class FoundryBatch(BatchEnvelope, kw_only=True, gc=False):
    """A Batch line of Foundry."""

    body: FoundryCreateRun


class Shape(Struct, frozen=True):
    """The declarations of one dialect: its native line, its Batch line, its bare body."""

    native: type[NativeV1 | Native | FoundryNative]
    batch: type[BatchV1 | Batch | FoundryBatch]
    body: type[CreateRunV1 | CreateRun | FoundryCreateRun]


OPENAI = Shape(Native, Batch, CreateRun)
OPENAI_V1 = Shape(NativeV1, BatchV1, CreateRunV1)
FOUNDRY = Shape(FoundryNative, FoundryBatch, FoundryCreateRun)
