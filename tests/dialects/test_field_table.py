"""Every property that the four seed documents name, one by one.

A valid value is accepted and stands in the create call byte for byte; a wrong one is told with its
path. Which document names what: "000" v1 schema, "001" v2 reference, "002" v1 node, "003" SDK page.
"""

from dataclasses import dataclass

import pytest
from dialects.driven import a_job, accepted, answered, complaints

from runner.dialects.dialect import Dialect, Tag
from runner.dialects.named import named
from runner.dialects.splice import take_apart

V1, V2 = "openai-v1", "openai"
V2_LIKE = (V2, "azure", "foundry")
BOTH = (V1, *V2_LIKE)
PART = '[{"role":"user","content":[%s]}]'
MESSAGE = "additional_messages"
INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"


@dataclass(frozen=True)
class Row:
    """A property of the documents: where it is named, a good value of its top field, a bad one.

    `bad` is a whole value of `field`, and `path` where it is told.
    """

    documents: str
    dialects: tuple[str, ...]
    property: str
    field: str
    good: str
    bad: str
    path: str

    def __str__(self) -> str:
        return self.property


def row(
    documents: str, dialects: tuple[str, ...], name: str, good: str, bad: str, path: str = ""
) -> Row:
    field = name.split(".", maxsplit=1)[0].split("[", maxsplit=1)[0]
    return Row(documents, dialects, name, field, good, bad, path or name)


FUNCTION = '[{"type":"function","function":{"name":"f",%s}}]'
SEARCH = '[{"type":"file_search","file_search":{%s}}]'
ATTACHED = '[{"role":"user","content":"x","attachments":[%s]}]'
FORMAT = '{"type":"json_schema","json_schema":{"name":"n",%s}}'

TABLE = [
    row("000 001 002 003", BOTH, "assistant_id", '"asst_abc123"', "7"),
    row("000 001 002 003", BOTH, "model", '"gpt-4o"', "[]"),
    row("000 001 002", BOTH, "model (null)", "null", "false", "model"),
    row("001 003", V2_LIKE, "reasoning_effort", '"low"', '"lowest"'),
    row("001", V2_LIKE, "reasoning_effort (medium)", '"medium"', "1", "reasoning_effort"),
    row("001", V2_LIKE, "reasoning_effort (high)", '"high"', "{}", "reasoning_effort"),
    row("001", V2_LIKE, "reasoning_effort (null)", "null", '""', "reasoning_effort"),
    row("000 001 002 003", BOTH, "instructions", '"Be “exact”\u2028."', "5"),
    row("000 001 002", BOTH, "instructions (null)", "null", "[]", "instructions"),
    row("000 001 002 003", BOTH, "additional_instructions", '"\\u00e9"', "{}"),
    row("001 003", V2_LIKE, MESSAGE, '[{"role":"user","content":"hi"}]', '"hi"'),
    row("001", V2_LIKE, f"{MESSAGE} (null)", "null", "{}", MESSAGE),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].role",
        '[{"role":"assistant","content":"hi"}]',
        '[{"role":"tool","content":"hi"}]',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content",
        '[{"role":"user","content":"text"}]',
        '[{"role":"user","content":[]}]',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].type",
        PART % '{"type":"text","text":"hi"}',
        PART % '{"type":"txt","text":"hi"}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].text",
        PART % '{"type":"text","text":"a\\u2028b"}',
        PART % '{"type":"text","text":{"value":"hi"}}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].image_file",
        PART % '{"type":"image_file","image_file":{"file_id":"file-1"}}',
        PART % '{"type":"image_file"}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].image_file.file_id",
        PART % '{"type":"image_file","image_file":{"file_id":"file-1"}}',
        PART % '{"type":"image_file","image_file":{"detail":"low"}}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].image_file.detail",
        PART % '{"type":"image_file","image_file":{"file_id":"f","detail":"high"}}',
        PART % '{"type":"image_file","image_file":{"file_id":"f","detail":"best"}}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].image_url",
        PART % '{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}',
        PART % '{"type":"image_url","image_url":"https://example.org/a.png"}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].image_url.url",
        PART % '{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}',
        PART % '{"type":"image_url","image_url":{"url":null}}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].content[0].image_url.detail",
        PART % '{"type":"image_url","image_url":{"url":"u","detail":"auto"}}',
        PART % '{"type":"image_url","image_url":{"url":"u","detail":2}}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].attachments",
        '[{"role":"user","content":"x","attachments":null}]',
        '[{"role":"user","content":"x","attachments":{}}]',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].attachments[0].file_id",
        ATTACHED % '{"file_id":"file-2","tools":[{"type":"code_interpreter"}]}',
        ATTACHED % '{"file_id":2}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].attachments[0].tools",
        ATTACHED % '{"file_id":"f","tools":[{"type":"file_search"}]}',
        ATTACHED % '{"file_id":"f","tools":"file_search"}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].attachments[0].tools[0].type",
        ATTACHED % '{"tools":[{"type":"file_search"},{"type":"code_interpreter"}]}',
        ATTACHED % '{"tools":[{"type":"function"}]}',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE}[0].metadata",
        '[{"role":"user","content":"x","metadata":{"k":"v"}}]',
        '[{"role":"user","content":"x","metadata":["k"]}]',
    ),
    row(
        "001",
        V2_LIKE,
        f"{MESSAGE} (images and attachments)",
        '[ {"role":"user","content":[{"type":"text","text":"\\u00e9\u2028 é"} , '
        '{"type":"image_url","image_url":{"url":"https:\\/\\/example.org\\/a.png","detail":"low"}},'
        '{"type":"image_file","image_file":{ "detail":"auto","file_id":"file-1"}}],'
        '"attachments":[{"tools":[{"type":"file_search"},{"type":"code_interpreter"}],'
        '"file_id":"file-2"}],  "metadata":{"a":"1"}},{"role":"assistant","content":"so"}]',
        '[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u","size":1}}]}]',
        f"{MESSAGE}[0].content[0].image_url.size",
    ),
    row("000 001 002 003", BOTH, "tools", '[{"type":"code_interpreter"}]', "{}"),
    row("000 001 002", BOTH, "tools (null)", "null", '"code_interpreter"', "tools"),
    row(
        "000 002",
        BOTH,
        "tools (maxItems)",
        "[" + ",".join(['{"type":"code_interpreter"}'] * 20) + "]",
        "[" + ",".join(['{"type":"code_interpreter"}'] * 21) + "]",
        "tools",
    ),
    row("000 001 002", BOTH, "tools[0].type", '[{"type":"code_interpreter"}]', '[{"type":"x"}]'),
    row(
        "000 002",
        (V1,),
        "tools[0].type (retrieval)",
        '[{"type":"retrieval"}]',
        '[{"type":"file_search"}]',
        "tools[0].type",
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].type (file_search)",
        '[{"type":"file_search"}]',
        '[{"type":"retrieval"}]',
        "tools[0].type",
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search",
        SEARCH % "",
        '[{"type":"file_search","file_search":1}]',
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search.max_num_results",
        SEARCH % '"max_num_results":50',
        SEARCH % '"max_num_results":51',
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search.max_num_results (least)",
        SEARCH % '"max_num_results":1',
        SEARCH % '"max_num_results":0',
        "tools[0].file_search.max_num_results",
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search.ranking_options",
        SEARCH % '"ranking_options":{"score_threshold":0}',
        SEARCH % '"ranking_options":null',
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search.ranking_options.ranker",
        SEARCH % '"ranking_options":{"ranker":"default_2024_08_21","score_threshold":0.0}',
        SEARCH % '"ranking_options":{"ranker":"best","score_threshold":0.0}',
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search.ranking_options.score_threshold",
        SEARCH % '"ranking_options":{"score_threshold":0.1000000000000000055}',
        SEARCH % '"ranking_options":{"score_threshold":1.5}',
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search.ranking_options.score_threshold (bounds)",
        SEARCH % '"ranking_options":{"ranker":"auto","score_threshold":1}',
        SEARCH % '"ranking_options":{"ranker":"auto","score_threshold":-0.1}',
        "tools[0].file_search.ranking_options.score_threshold",
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].file_search.ranking_options.score_threshold (required)",
        SEARCH % '"ranking_options":{"score_threshold":1.0}',
        SEARCH % '"ranking_options":{"ranker":"auto"}',
        "tools[0].file_search.ranking_options.score_threshold",
    ),
    row(
        "000 001 002",
        BOTH,
        "tools[0].function",
        '[{"type":"function","function":{"name":"f"}}]',
        '[{"type":"function"}]',
    ),
    row(
        "000 001 002",
        BOTH,
        "tools[0].function.name",
        '[{"type":"function","function":{"name":"a-Z_9"}}]',
        '[{"type":"function","function":{"name":"a b"}}]',
    ),
    row(
        "000 001 002",
        BOTH,
        "tools[0].function.name (length)",
        f'[{{"type":"function","function":{{"name":"{"n" * 64}"}}}}]',
        f'[{{"type":"function","function":{{"name":"{"n" * 65}"}}}}]',
        "tools[0].function.name",
    ),
    row(
        "000 001 002",
        BOTH,
        "tools[0].function.description",
        FUNCTION % '"description":"d"',
        FUNCTION % '"description":1',
    ),
    row(
        "000 001 002",
        BOTH,
        "tools[0].function.parameters",
        FUNCTION % '"parameters":{ "maximum" : 9007199254740993, "x":0.1000000000000000055}',
        FUNCTION % '"parameters":[]',
    ),
    row(
        "001",
        V2_LIKE,
        "tools[0].function.strict",
        FUNCTION % '"strict":null',
        FUNCTION % '"strict":"yes"',
    ),
    row(
        "000 001 002 003",
        BOTH,
        "metadata",
        '{ "case": "17",  "n":"é" }',
        '{"case":17}',
        "metadata.case",
    ),
    row("000 001 002", BOTH, "metadata (null)", "null", "[]", "metadata"),
    row(
        "000 001 003",
        BOTH,
        "metadata (pairs)",
        "{" + ",".join(f'"k{i}":"v"' for i in range(15)) + "}",
        "{" + ",".join(f'"k{i}":"v"' for i in range(17)) + "}",
        "metadata",
    ),
    row(
        "000 001 003",
        BOTH,
        "metadata (value length)",
        f'{{"k":"{"v" * 512}"}}',
        f'{{"k":"{"v" * 513}"}}',
        "metadata.k",
    ),
    row(
        "000 001 003",
        BOTH,
        "metadata (key length)",
        f'{{"{"k" * 64}":"v"}}',
        f'{{"{"k" * 65}":"v"}}',
        f"metadata['{'k' * 57}...']",
    ),
    row("001 003", V2_LIKE, "temperature", "0.80", "2.1"),
    row("001", V2_LIKE, "temperature (least)", "0", "-0.1", "temperature"),
    row("001", V2_LIKE, "temperature (most)", "2", "2.0001", "temperature"),
    row("001", V2_LIKE, "top_p (least)", "0", "-0.01", "top_p"),
    row("001", V2_LIKE, "temperature (null)", "null", '"1"', "temperature"),
    row("001 003", V2_LIKE, "top_p", "1.0", "1.01"),
    row("001", V2_LIKE, "top_p (null)", "null", "true", "top_p"),
    row("001 003", V2_LIKE, "max_prompt_tokens", "256", "255"),
    row("001", V2_LIKE, "max_prompt_tokens (null)", "null", "300.5", "max_prompt_tokens"),
    row("001 003", V2_LIKE, "max_completion_tokens", "1000", "0"),
    row("001", V2_LIKE, "max_completion_tokens (null)", "null", '"many"', "max_completion_tokens"),
    row(
        "001",
        V2_LIKE,
        "truncation_strategy",
        '{"type":"auto","last_messages":null}',
        '"auto"',
    ),
    row(
        "001",
        V2_LIKE,
        "truncation_strategy.type",
        '{"type":"last_messages","last_messages":3}',
        '{"type":"first_messages"}',
    ),
    row(
        "001",
        V2_LIKE,
        "truncation_strategy.last_messages",
        '{"type":"last_messages","last_messages":1}',
        '{"type":"last_messages"}',
    ),
    row("001", V2_LIKE, "tool_choice", '"auto"', '"automatic"'),
    row("001", V2_LIKE, "tool_choice (none)", '"none"', "false", "tool_choice"),
    row("001", (V2, "azure"), "tool_choice (required)", '"required"', "[]", "tool_choice"),
    row(
        "001",
        V2_LIKE,
        "tool_choice.function",
        '{"type":"function","function":{"name":"f"}}',
        '{"type":"file_search","function":{"name":"f"}}',
    ),
    row("001 003", V2_LIKE, "parallel_tool_calls", "false", "null"),
    row("001", V2_LIKE, "response_format", '"auto"', '"json"'),
    row("001", V2_LIKE, "response_format.type", '{"type":"text"}', '{"type":"xml"}'),
    row(
        "001",
        V2_LIKE,
        "response_format.type (json_object)",
        '{"type":"json_object"}',
        '{"type":"json_object","x":1}',
        "response_format.x",
    ),
    row(
        "001 003",
        V2_LIKE,
        "response_format.json_schema",
        '{"type":"json_schema","json_schema":{"name":"n"}}',
        '{"type":"json_schema"}',
    ),
    row(
        "001",
        V2_LIKE,
        "response_format.json_schema.description",
        FORMAT % '"description":"d"',
        FORMAT % '"description":null',
    ),
    row(
        "001",
        V2_LIKE,
        "response_format.json_schema.name",
        '{"type":"json_schema","json_schema":{"name":"n_1-x"}}',
        '{"type":"json_schema","json_schema":{"name":""}}',
    ),
    row(
        "001",
        V2_LIKE,
        "response_format.json_schema.schema",
        FORMAT % '"schema":{"type":"object","maximum":1E400}',
        FORMAT % '"schema":"object"',
    ),
    row(
        "001",
        V2_LIKE,
        "response_format.json_schema.strict",
        FORMAT % '"strict":true',
        FORMAT % '"strict":1',
    ),
]

CASES = [pytest.param(name, one, id=f"{name}-{one}") for one in TABLE for name in one.dialects]


def line_with(field: str, value: str) -> bytes:
    head = "" if field == "assistant_id" else '"assistant_id":"asst_a",'
    return f'{{"custom_id":"c","thread_id":"thread_a",{head}"{field}":{value}}}'.encode()


def field_of(one: Row) -> str:
    return one.field.split(" ", maxsplit=1)[0]


@pytest.mark.parametrize(("name", "one"), CASES)
def test_a_documented_value_is_accepted_and_sent_byte_for_byte(name: str, one: Row) -> None:
    field = field_of(one)
    good = accepted(named(name), line_with(field, one.good))
    untagged, _ = created(named(name), good.body, good.extra)
    assert take_apart(untagged)[field] == one.good.encode()


@pytest.mark.parametrize(("name", "one"), CASES)
def test_a_wrong_value_is_told_with_its_path(name: str, one: Row) -> None:
    told = complaints(named(name), line_with(field_of(one), one.bad))
    assert one.path in told


@pytest.mark.parametrize(("name", "one"), CASES)
def test_a_batch_line_tells_the_same_inside_its_body(name: str, one: Row) -> None:
    field = field_of(one)
    head = "" if field == "assistant_id" else '"assistant_id":"asst_a",'
    line = (
        '{"custom_id":"c","method":"POST","url":"/v1/threads/thread_a/runs",'
        f'"body":{{{head}"{field}":%s}}}}'
    )
    good = accepted(named(name), (line % one.good).encode())
    untagged, _ = created(named(name), good.body, good.extra)
    assert take_apart(untagged)[field] == one.good.encode()
    assert f"body.{one.path}" in complaints(named(name), (line % one.bad).encode())


def created(dialect: Dialect, body: bytes, extra: bytes) -> tuple[bytes, str]:
    run = {"id": "run_a", "status": "queued"}
    calls, _ = answered(dialect.create(a_job(body, extra=extra), Tag(""), stream=False), run)
    [call] = calls
    assert call.body is not None
    return call.body, call.query


@pytest.mark.parametrize("name", V2_LIKE)
def test_stream_is_taken_and_decided_by_runner(name: str) -> None:
    """Documents 001 and 003 name it; whether the answer is a stream is Runner's to say."""
    dialect = named(name)
    for value, sent in (("true", b"false"), ("false", b"false"), ("null", b"null")):
        body = accepted(dialect, line_with("stream", value)).body
        assert take_apart(created(dialect, body, b"")[0])["stream"] == sent
    assert "stream" in complaints(dialect, line_with("stream", '"yes"'))


@pytest.mark.parametrize("name", V2_LIKE)
def test_include_goes_into_the_query(name: str) -> None:
    """The documents 001 and 003 name it as a query parameter, include[]."""
    good = accepted(named(name), line_with("include", f'["{INCLUDE}"]'))
    _, query = created(named(name), good.body, good.extra)
    assert query.startswith("include%5B%5D=step_details.tool_calls%5B%2A%5D.file_search.results")
    assert "include[0]" in complaints(named(name), line_with("include", '["everything"]'))
    assert "include" in complaints(named(name), line_with("include", '"everything"'))


@pytest.mark.parametrize("name", BOTH)
def test_thread_id_goes_into_the_path_and_never_into_the_body(name: str) -> None:
    """Documents 000 and 002 require it of the body, and have no such property there."""
    good = accepted(named(name), line_with("model", '"m"'))
    assert good.thread_id == "thread_a"
    assert "thread_id" not in take_apart(good.body)
    line = {
        "method": "POST",
        "url": "/v1/threads/t/runs",
        "body": {"assistant_id": "a", "thread_id": "t"},
    }
    for lenient in (False, True):
        told = complaints(named(name), line, lenient=lenient)
        assert told == {
            "body.thread_id": "belongs in the url; the server knows no such field in the body"
        }


IN_V1 = {field_of(one) for one in TABLE if V1 in one.dialects}
LATER = sorted({field_of(one) for one in TABLE} - IN_V1)


@pytest.mark.parametrize("field", LATER)
def test_v1_tells_that_a_field_of_v2_is_none_of_its(field: str) -> None:
    good = next(one.good for one in TABLE if field_of(one) == field)
    told = complaints(named(V1), line_with(field, good))
    assert "v2" in told[field]


def test_the_whole_body_of_a_line_arrives_in_its_order() -> None:
    seen: dict[str, str] = {}
    for one in TABLE:
        if V2 in one.dialects:
            seen.setdefault(field_of(one), one.good)
    body = ",".join(f'"{field}":{value}' for field, value in reversed(seen.items()))
    good = accepted(named(V2), f'{{"custom_id":"x",{body},"thread_id":"t"}}'.encode())
    assert good.body == f"{{{body}}}".encode()
    assert created(named(V2), good.body, good.extra)[0] == good.body
