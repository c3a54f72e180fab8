"""Manifest lines: both forms, what is accepted of them, and everything that can be wrong."""

import json

import pytest
from dialects.driven import accepted, complaints

from runner.core.model import Accepted, Complaint
from runner.dialects.dialect import Dialect
from runner.dialects.named import named

INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"


@pytest.fixture
def dialect() -> Dialect:
    return named("openai")


def batch(url: str = "/v1/threads/t/runs", **fields: object) -> dict[str, object]:
    line: dict[str, object] = {"custom_id": "z", "method": "POST", "url": url}
    return line | {"body": {"assistant_id": "a"}} | fields


def test_a_native_line_gives_the_body_without_what_stands_beside_it(dialect: Dialect) -> None:
    line = (
        b'{"model" : "m", "custom_id":"c","thread_id":"t","tool_outputs": {"f": "4\\u00322"} ,'
        b'"assistant_id":"a","include":["%b"]}' % INCLUDE.encode()
    )
    assert accepted(dialect, line) == Accepted(
        thread_id="t",
        body=b'{"model":"m","assistant_id":"a"}',
        extra=b'{"include":["%b"],"tool_outputs":{"f": "4\\u00322"}}' % INCLUDE.encode(),
        lane="a m",
    )


def test_a_batch_line_is_the_same_job_from_its_url(dialect: Dialect) -> None:
    url = f"/v1/threads/a%20b%2Fc/runs?include%5B%5D={INCLUDE}"
    body = '{ "assistant_id" : "a", "temperature": 0.50 }'
    line = f'{{"custom_id":"c","method":"POST","url":"{url}","body":{body}}}'.encode()
    assert accepted(dialect, line) == Accepted(
        thread_id="a b/c",
        body=b'{ "assistant_id" : "a", "temperature": 0.50 }',
        extra=b'{"include":["%b"]}' % INCLUDE.encode(),
        lane="a",
    )


@pytest.mark.parametrize("nothing", [{"thread": None}, {"thread_id": None}, {"include": None}, {}])
def test_null_beside_the_body_is_as_if_it_were_not_there(
    dialect: Dialect, nothing: dict[str, object]
) -> None:
    assert accepted(dialect, {"assistant_id": "a"} | nothing) == Accepted(
        None, b'{"assistant_id":"a"}', b"", "a"
    )


def test_numbers_order_and_separators_stay_as_they_were_written(dialect: Dialect) -> None:
    schema = '{ "maximum":9007199254740993,"x":0.1000000000000000055, "t":"\u2028\\/" ,"e":1E5}'
    body = (
        '{"tools":[{"type":"function","function":{"parameters":'
        + schema
        + ',"name":"f"}}],"assistant_id":"a"}'
    )
    assert accepted(dialect, body.encode()).body == body.encode()


def test_everything_that_is_wrong_is_told_at_once(dialect: Dialect) -> None:
    line = {
        "asistant_id": "a",
        "temperature": 3.5,
        "tools": [
            {"type": "code_interpreter"},
            {"type": "functoin", "function": {"name": "f"}},
            {"type": "function", "function": {"name": "a b", "paramaters": {}}},
        ],
        "thread_id": "",
        "reasoning_effort": "hihg",
        "metadata": {"a": 1, "b": None},
    }
    assert complaints(dialect, line) == {
        "asistant_id": "no such field; did you mean assistant_id?",
        "temperature": "3.5 is above 2; set 0 to 2, or drop the field",
        "tools[1].type": "'functoin' is not known; use one of 'code_interpreter', 'file_search',"
        " 'function'; did you mean function?",
        "tools[2].function.name": "'a b' is not a name of A-Z, a-z, 0-9, _ and -",
        "tools[2].function.paramaters": "no such field; did you mean parameters?",
        "thread_id": "is empty",
        "reasoning_effort": "'hihg' is not known; use one of 'high', 'low', 'max', 'medium',"
        " 'minimal', 'none', 'xhigh'; did you mean high?",
        "metadata.a": "1 is a whole number; a string is needed",
        "metadata.b": "null is not allowed; a string is needed, or drop the field",
        "assistant_id": "missing; a string is needed",
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({}, {"assistant_id": "missing; a string is needed"}),
        (batch(body="str"), {"body": "'str' is a string; an object is needed"}),
        (batch(body=None), {"body": "null is not allowed; an object is needed, or drop the field"}),
        (batch(method="GET"), {"method": "'GET' is not known; use 'POST'"}),
        (
            batch("/v1/chat/completions"),
            {"url": "'/v1/chat/completions' is not known; use '/v1/threads/{thread_id}/runs'"},
        ),
        (batch(body={"asistant_id": "a"}), {"body.asistant_id", "body.assistant_id"}),
        ({"custom_id": "z", "body": {"assistant_id": "a"}}, {"method", "url"}),
        ({"custom_id": "z", "method": "POST", "url": "/v1/threads/t/runs"}, {"body"}),
        (batch(assistant_id="a"), {"assistant_id": "belongs inside body in a Batch line"}),
        (batch(thread_id="t"), {"thread_id": "belongs in the url of a Batch line"}),
        (batch(bdy={}), {"bdy": "no such field; did you mean body?"}),
        (batch("/v1/threads/runs"), {"url"}),
        (batch("/v1/threads//runs"), {"url"}),
        (batch("/v1/threads/a/b/runs"), {"url"}),
        (batch("/v1/threads/t/runs/run_1"), {"url"}),
        (batch("/v1/threads/%FF/runs"), {"url"}),
        (batch("/v1/threads/%00/runs"), {"url"}),
        (batch(f"/v1/threads/{'t' * 513}/runs"), {"url"}),
        (batch("/v1/threads/t/runs?limit=1"), {"url"}),
        (batch("/v1/threads/t/runs?include[]=all"), {"url"}),
        ({**batch(), "url": 7}, {"url"}),
        ({"assistant_id": "a", "thread_id": "a\nb"}, {"thread_id"}),
        ({"assistant_id": "a", "thread_id": "t" * 513}, {"thread_id"}),
        ({"assistant_id": "a", "thread_id": 5}, {"thread_id"}),
        ({"assistant_id": "a", "thread_id": "t", "thread": {}}, {"thread"}),
        ({"assistant_id": "a", "thread": []}, {"thread"}),
        (
            {"assistant_id": "a", "thread": {"tool_resources": {"file_search": {"x": 1}}}},
            {"thread.tool_resources.file_search.x"},
        ),
        (
            {"assistant_id": "a", "thread": {"messages": [{"role": "user"}]}},
            {"thread.messages[0].content"},
        ),
        ({"assistant_id": "a", "tool_outputs": {"f": 1}}, {"tool_outputs.f"}),
        ({"assistant_id": "a", "instructions": "x" * 300_000}, {"instructions"}),
        (
            {"assistant_id": "a", "tools": [{"type": "x"}] * 2000},
            {f"tools[{i}].type" for i in range(20)} | {"tools"},
        ),
        ({"assistant_id": ""}, {"assistant_id"}),
    ],
)
def test_a_wrong_line_is_told_field_by_field(
    dialect: Dialect, line: dict[str, object], told: dict[str, str] | set[str]
) -> None:
    found = complaints(dialect, line)
    assert (found if isinstance(told, dict) else set(found)) == told


@pytest.mark.parametrize("raw", [b"[1]", b'"x"', b"null", b"42"])
def test_json_that_is_no_object_is_told(dialect: Dialect, raw: bytes) -> None:
    """headroomlabs-ai/headroom#2316: one such line brought the whole batch down."""
    assert dialect.check(raw, {}, lenient=False) == [
        Complaint("", "is no JSON object; a line holds one object")
    ]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_is_told_wherever_it_stands(dialect: Dialect, number: str) -> None:
    inner = '[{"type":"function","function":{"name":"f","parameters":{"x":%s}}}]'
    for field in ('"temperature":%s', f'"tools":{inner}'):
        line = '{"assistant_id":"a",%s}' % (field % number)
        told = [Complaint("", f"cannot be read: {number} is not JSON")]
        assert dialect.check(line.encode(), {}, lenient=True) == told


def test_a_number_beyond_bounds_is_told_and_nan_as_text_is_fine(dialect: Dialect) -> None:
    assert "temperature" in complaints(dialect, b'{"assistant_id":"a","temperature":1e999}')
    accepted(dialect, b'{"assistant_id":"a","metadata":{"x":"NaN"}}')


def test_a_lone_surrogate_is_json_and_goes_on_as_it_is(dialect: Dialect) -> None:
    line = b'{"assistant_id":"a","model":"\\ud800","instructions":"\\udfff"}'
    good = accepted(dialect, line)
    assert good.body == line
    good.lane.encode()
    assert "thread_id" in complaints(dialect, b'{"assistant_id":"a","thread_id":"\\ud800"}')


def test_nesting_beyond_reading_is_told(dialect: Dialect) -> None:
    line = b'{"assistant_id":"a","metadata":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert dialect.check(line, {}, lenient=False) == [
        Complaint("", "is nested too deeply to be read")
    ]


def test_lenient_sends_on_what_is_unknown_and_nothing_that_is_wrong(dialect: Dialect) -> None:
    line = (
        b'{"assistant_id":"a","zeta":{"n":1.10},"reasoning_effort":"ultra",'
        b'"tools":[{"type":"brand_new","inner":{}}],"metadata":{"k":"v"}}'
    )
    assert set(complaints(dialect, line)) == {"zeta", "reasoning_effort", "tools[0].type"}
    assert accepted(dialect, line, lenient=True).body == line
    wrong = {"assistant_id": "a", "zeta": 1, "temperature": 3}
    assert set(complaints(dialect, wrong, lenient=True)) == {"temperature"}
    unknown_in_body = batch(body={"assistant_id": "a", "zeta": 1})
    assert accepted(dialect, unknown_in_body, lenient=True).thread_id == "t"


SIXTEEN = {f"k{i}": "v" for i in range(16)}


def test_sixteen_pairs_leave_no_room_for_the_tag(dialect: Dialect) -> None:
    line = {"assistant_id": "a", "metadata": SIXTEEN}
    told = "has 16 pairs, which leaves no room for Runner's tag; drop one, or go without the tag"
    assert complaints(dialect, line) == {"metadata": told}
    assert complaints(dialect, batch(body=line)) == {"body.metadata": told}
    accepted(named("openai", {"tag": ""}), line)


def test_a_pair_of_the_tags_name_is_refused(dialect: Dialect) -> None:
    line = {"assistant_id": "a", "metadata": {"runner_key": "mine"}}
    assert "metadata" in complaints(dialect, line)
    accepted(named("openai", {"tag": "other"}), line)
    assert "metadata" in complaints(named("openai", {"tag": "runner_key"}), line)


def test_what_a_server_may_refuse_is_warned_of(dialect: Dialect) -> None:
    messages = [{"role": "user", "content": "x"}] * 33
    line = {
        "assistant_id": "a",
        "max_completion_tokens": 16,
        "additional_messages": messages,
        "thread": {"messages": messages},
    }
    fields = ["max_completion_tokens", "additional_messages", "thread.messages"]
    assert [one.field for one in accepted(dialect, line).warnings] == fields
    unknown = line | {"zeta": 1}
    assert [one.field for one in accepted(dialect, unknown, lenient=True).warnings] == fields


def test_azure_warns_of_what_its_reference_does_not_list() -> None:
    body = {"assistant_id": "a", "parallel_tool_calls": True, "reasoning_effort": "low"}
    fields = ["parallel_tool_calls", "reasoning_effort"]
    assert [one.field for one in accepted(named("azure"), body).warnings] == fields
    warned = accepted(named("azure"), batch(body=body)).warnings
    assert [one.field for one in warned] == [f"body.{field}" for field in fields]
    assert accepted(named("openai"), body).warnings == ()


def test_foundry_knows_more_tools_and_does_not_look_inside_them() -> None:
    line = {
        "assistant_id": "asst_a",
        "tools": [
            {"type": name, name: {"anything": [1]}, "more": True}
            for name in ("bing_grounding", "azure_ai_search", "connected_agent", "openapi", "mcp")
        ],
        "tool_resources": {"azure_ai_search": {"indexes": [{"top_k": 5}]}},
        "thread": {"tool_resources": {"mcp": []}},
    }
    accepted(named("foundry"), line)
    assert "tools[0].type" in complaints(named("openai"), line)
    assert "tool_resources" in complaints(named("openai"), line)
    assert "tool_choice" in complaints(
        named("foundry"), {"assistant_id": "a", "tool_choice": "required"}
    )


def test_a_thread_of_v1_has_the_messages_of_v1() -> None:
    message = {"role": "user", "content": "hi", "file_ids": ["file_1"], "metadata": {"k": "v"}}
    accepted(named("openai-v1"), {"assistant_id": "a", "thread": {"messages": [message]}})
    for wrong, path in (
        ({"role": "assistant", "content": "x"}, "role"),
        ({"role": "user", "content": "x" * 32_769}, "content"),
        ({"role": "user", "content": [{"type": "text", "text": "x"}]}, "content"),
        ({"role": "user", "content": "x", "file_ids": ["f"] * 11}, "file_ids"),
    ):
        line = {"assistant_id": "a", "thread": {"messages": [wrong]}}
        assert f"thread.messages[0].{path}" in complaints(named("openai-v1"), line)


def test_a_complaint_holds_nothing_that_a_terminal_would_act_on(dialect: Dialect) -> None:
    line = {"assistant_id": "a", "thread_id": "\x1b[2J", "bad\x1b[31m": 1, "model\ud800": 2}
    raw = json.dumps(line).encode()
    result = dialect.check(raw, {}, lenient=False)
    assert isinstance(result, list)
    assert all(str(one).isprintable() for one in result)
