"""The Responses API in the background: the situations of a run, from the reference (10.9)."""

import json
from typing import get_type_hints

import pytest
from dialects.driven import KEY, a_job, accepted, answered, complaints
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from runner.core.call import Reply
from runner.core.errors import UsageError
from runner.core.model import Kind, Proofs, Usage
from runner.dialects.dialect import Dialect, Tag, UnreadableError
from runner.dialects.named import named
from runner.dialects.responses import CreateResponse
from runner.dialects.splice import take_apart

DIALECT: Dialect = named("responses")
WITH_CONVERSATIONS: Dialect = named("responses", {"conversation": "1"})
TAG = Tag()
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "four"}, {"type": "output_text", "text": "."}],
}


def a_response(status: str = "queued", **members: object) -> dict[str, object]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "background": True,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "usage": None,
        "metadata": {"runner_key": KEY},
        **members,
    }


# Lines


def test_a_good_line_goes_out_with_its_numbers_as_they_were_written() -> None:
    line = accepted(DIALECT, b'{"custom_id":"a","model":"m","input":"hi","temperature":0.10}')
    assert line.body == b'{"model":"m","input":"hi","temperature":0.10}'
    assert (line.thread_id, line.lane, line.extra) == (None, "m", b"")


@pytest.mark.parametrize("url", ["/v1/responses", "/responses"])
def test_a_batch_line_is_the_same_job(url: str) -> None:
    line = accepted(DIALECT, {"method": "POST", "url": url, "body": {"model": "m", "input": "x"}})
    assert line.body == b'{"model": "m", "input": "x"}'


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
def test_jobs_of_one_conversation_take_turns(conversation: object) -> None:
    line = accepted(DIALECT, {"model": "m", "conversation": conversation})
    assert line.thread_id == "conv_1"


def test_every_fault_of_a_line_is_told_with_its_path() -> None:
    line = {
        "modl": "m",
        "input": 3,
        "temperature": 2.5,
        "top_logprobs": 21,
        "truncation": "never",
        "tools": [{"type": "web_search"}, {}],
        "reasoning": {"effort": "lots"},
        "metadata": {"k": 1},
        "thread_id": "t",
        "max_completion_tokens": 5,
    }
    told = complaints(DIALECT, line)
    assert told.keys() == {
        "modl",
        "model",
        "input",
        "temperature",
        "top_logprobs",
        "truncation",
        "tools[1].type",
        "reasoning.effort",
        "metadata.k",
        "thread_id",
        "max_completion_tokens",
    }
    assert told["modl"].endswith("did you mean model?")
    assert "max_output_tokens" in told["max_completion_tokens"]


@pytest.mark.parametrize(
    ("dialect", "field", "members"),
    [
        (DIALECT, "background", {"background": False}),
        (DIALECT, "store", {"store": False}),
        (DIALECT, "stream", {"stream": True}),
        (
            DIALECT,
            "previous_response_id",
            {"conversation": "c", "previous_response_id": "resp_0"},
        ),
        (WITH_CONVERSATIONS, "previous_response_id", {"previous_response_id": "resp_0"}),
        (DIALECT, "metadata", {"metadata": {"runner_key": "mine"}}),
        (DIALECT, "metadata", {"metadata": dict.fromkeys(map(str, range(17)), "x")}),
    ],
)
def test_what_would_break_the_promise_is_refused(
    dialect: Dialect, field: str, members: dict[str, object]
) -> None:
    assert complaints(dialect, {"model": "m", **members}).keys() == {field}


def test_a_batch_line_to_another_endpoint_is_refused() -> None:
    line = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
    assert complaints(DIALECT, line).keys() == {"url"}


def test_a_lenient_check_sends_what_it_does_not_know() -> None:
    line = accepted(DIALECT, b'{"model":"m","brand_new":1.0}', lenient=True)
    assert line.body == b'{"model":"m","brand_new":1.0}'


def test_our_fields_are_those_of_the_newest_sdk() -> None:
    theirs = set(get_type_hints(ResponseCreateParamsNonStreaming))
    assert set(CreateResponse.__struct_fields__) == theirs


# Runs


def test_a_create_is_one_marked_call_in_the_background_and_stored() -> None:
    job = a_job(b'{"model":"m","temperature":0.10,"metadata":{"u":"1"}}', thread_id=None)
    (call,), run = answered(DIALECT.create(job, TAG, stream=False), a_response())
    assert (call.method, call.path, call.creates, call.streams) == (
        "POST",
        "/responses",
        True,
        False,
    )
    assert call.headers == (("Idempotency-Key", KEY),)
    assert (
        call.body
        == (
            b'{"model":"m","temperature":0.10,"metadata":{"u":"1","runner_key": "%s"},'
            b'"background":true,"store":true}'
        ).replace(b": ", b":")
        % KEY.encode()
    )
    assert (run.id, run.kind, run.tag, run.created_s) == ("resp_1", Kind.ACTIVE, KEY, 1.7e9)


def test_a_full_metadata_map_goes_without_the_tag_which_proves_nothing_here() -> None:
    pairs = dict.fromkeys(map(str, range(16)), "x")
    job = a_job(accepted(DIALECT, {"model": "m", "metadata": pairs}).body, thread_id=None)
    (call,), _ = answered(DIALECT.create(job, TAG, stream=False), a_response())
    assert json.loads(call.body or b"")["metadata"] == pairs


def test_a_streamed_create_says_so_in_its_body() -> None:
    job = a_job(b'{"model":"m","stream":false}', thread_id=None)
    call = next(DIALECT.create(job, TAG, stream=True))
    assert call.streams
    assert json.loads(call.body or b"")["stream"] is True


@given(
    st.dictionaries(
        st.sampled_from(["temperature", "top_p", "input", "store", "stream", "user"]),
        st.sampled_from([b"1.0", b"0.10", b"1e-1", b"null", b'"\\u00e9"', b"true"]),
    )
)
def test_the_body_is_the_same_bytes_at_every_attempt_and_keeps_each_value_as_written(
    members: dict[str, bytes],
) -> None:
    inside = b",".join(b'"%s":%s' % (name.encode(), raw) for name, raw in members.items())
    job = a_job(b"{" + inside + b"}", thread_id=None)
    first, again = (next(DIALECT.create(job, TAG, stream=False)) for _ in range(2))
    assert first == again
    sent = take_apart(first.body or b"")
    assert {**members, **sent} | {"stream": b""} == {**sent, "stream": b""}
    assert (sent["background"], sent["store"]) == (b"true", b"true")
    assert sent.get("stream") in (None, b"false")
    kept = {name: raw for name, raw in members.items() if name not in ("store", "stream")}
    assert {name: sent[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("queued", Kind.ACTIVE),
        ("in_progress", Kind.ACTIVE),
        ("completed", Kind.SUCCEEDED),
        ("incomplete", Kind.FAILED),
        ("failed", Kind.FAILED),
        ("cancelled", Kind.CANCELLED),
        ("brand_new", Kind.FAILED),
    ],
)
def test_a_status_is_read_verbatim_and_an_unknown_one_ends_the_follow(
    status: str, kind: Kind
) -> None:
    (call,), run = answered(DIALECT.read("", "resp_1", TAG), a_response(status))
    assert (call.method, call.path) == ("GET", "/responses/resp_1")
    assert (run.status, run.kind) == (status, kind)


def test_tokens_and_errors_are_read_where_they_are() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    _, run = answered(DIALECT.read("", "resp_1", TAG), a_response("completed", usage=usage))
    assert run.usage == Usage(prompt=10, completion=5, total=15, cached=4, reasoning=2)
    error = {"code": "rate_limit_exceeded", "message": "slow down"}
    _, run = answered(DIALECT.read("", "resp_1", TAG), a_response("failed", error=error))
    assert run.error is not None
    assert (run.error.code, run.error.message) == ("rate_limit_exceeded", "slow down")
    why = {"reason": "max_output_tokens"}
    short = a_response("incomplete", incomplete_details=why)
    _, run = answered(DIALECT.read("", "resp_1", TAG), short)
    assert run.error is not None
    assert run.error.code == "max_output_tokens"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id":"resp_1"}', b'{"id":"","status":"queued"}'])
def test_an_answer_without_id_or_status_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        answered(DIALECT.create(a_job(b"{}"), TAG, stream=False), body)


def test_a_cancel_is_one_post() -> None:
    (call,), run = answered(DIALECT.cancel("", "resp/1", TAG), a_response("cancelled"))
    assert (call.method, call.path) == ("POST", "/responses/resp%2F1/cancel")
    assert run.kind is Kind.CANCELLED


def test_messages_are_in_the_response_and_the_rest_are_steps() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    whole = a_response("completed", output=[call, MESSAGE])
    assert answered(DIALECT.messages("", "resp_1"), whole)[1] == [json.dumps(MESSAGE).encode()]
    assert answered(DIALECT.steps("", "resp_1"), whole)[1] == [json.dumps(call).encode()]
    assert DIALECT.output_text(json.dumps(whole).encode(), []) == "four."
    assert DIALECT.output_text(json.dumps(a_response()).encode(), []) is None


# Events


def test_events_bring_the_response_the_text_and_the_end() -> None:
    created = json.dumps({"type": "response.created", "response": a_response()})
    news = DIALECT.event("response.created", created, TAG)
    assert news.run is not None
    assert (news.run.id, news.run.tag, news.done) == ("resp_1", KEY, False)
    assert DIALECT.event("message", created, TAG) == news
    delta = '{"type":"response.output_text.delta","delta":"fo"}'
    assert DIALECT.event("response.output_text.delta", delta, TAG).delta == "fo"
    ended = json.dumps({"type": "response.incomplete", "response": a_response("incomplete")})
    news = DIALECT.event("response.incomplete", ended, TAG)
    assert news.run is not None
    assert (news.run.kind, news.done) == (Kind.FAILED, True)
    assert DIALECT.event("message", "[DONE]", TAG).done


def test_an_error_event_is_told_and_unknown_ones_tell_nothing() -> None:
    told = '{"type":"error","code":"server_error","message":"oh","sequence_number":3}'
    news = DIALECT.event("error", told, TAG)
    assert news.error is not None
    assert (news.error.code, news.error.message) == ("server_error", "oh")
    for name in ("response.output_item.added", "keepalive", "response.created"):
        news = DIALECT.event(name, '{"item":{}}', TAG)
        assert (news.run, news.done, news.error, news.delta) == (None, False, None, "")


# Doubt


def test_without_conversations_nothing_can_be_proven() -> None:
    assert DIALECT.proofs == Proofs(tags=True)
    assert not DIALECT.makes_thread(a_job(b"{}", thread_id=None))


def test_a_conversation_of_its_own_is_made_first_and_named_in_the_body() -> None:
    dialect = WITH_CONVERSATIONS
    assert dialect.proofs == Proofs(lists=True, tags=True, at_end=True)
    job = a_job(b'{"model":"m"}', thread_id=None)
    assert dialect.makes_thread(job)
    (call,), made = answered(dialect.make_thread(job, TAG), {"id": "conv_1"})
    assert (call.method, call.path, call.creates, made) == (
        "POST",
        "/conversations",
        False,
        "conv_1",
    )
    job = a_job(b'{"model":"m"}', thread_id=made)
    (call,), _ = answered(dialect.create(job, TAG, stream=False), a_response())
    assert json.loads(call.body or b"")["conversation"] == "conv_1"


def test_a_conversation_that_its_user_named_stands_as_it_was_written() -> None:
    job = a_job(b'{"model":"m","conversation":{"id":"conv_9"}}', thread_id="conv_9")
    (call,), _ = answered(DIALECT.create(job, TAG, stream=False), a_response())
    assert b'"conversation":{"id":"conv_9"}' in (call.body or b"")


def test_a_look_reads_the_responses_that_items_name() -> None:
    page = {"data": [{"id": "m2", "response_id": "resp_1"}], "has_more": True, "last_id": "m2"}
    last = {"data": [{"id": "m1", "response_id": "resp_1"}], "has_more": False}
    flow = WITH_CONVERSATIONS.runs_of("conv_1", 0, TAG)
    calls, runs = answered(flow, page, last, a_response())
    assert [call.path for call in calls] == [
        "/conversations/conv_1/items",
        "/conversations/conv_1/items",
        "/responses/resp_1",
    ]
    assert [(run.id, run.tag) for run in runs] == [("resp_1", KEY)]


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([{"id": "m", "type": "message", "role": "user"}], "has the input"),
        ([{"id": "m", "role": "user"}, {"id": "n", "role": "assistant"}], "a response was made"),
        ([{"id": "fc", "type": "function_call"}], "a response was made"),
    ],
    ids=["input", "an answer", "a call"],
)
def test_items_without_a_name_are_neither_found_nor_not_found(
    items: list[dict[str, str]], told: str
) -> None:
    page = {"data": items, "has_more": False}
    with pytest.raises(UnreadableError, match=told):
        answered(WITH_CONVERSATIONS.runs_of("conv_1", 0, TAG), page)


def test_a_name_among_items_without_one_is_followed() -> None:
    items = [{"id": "n", "role": "assistant", "response_id": "resp_1"}, {"id": "m", "role": "user"}]
    page = {"data": items, "has_more": False}
    _, runs = answered(WITH_CONVERSATIONS.runs_of("conv_1", 0, TAG), page, a_response())
    assert [run.id for run in runs] == ["resp_1"]


def test_an_empty_conversation_holds_no_runs() -> None:
    empty = {"data": [], "has_more": False}
    assert answered(WITH_CONVERSATIONS.runs_of("conv_1", 0, TAG), empty)[1] == []


# Refusals and settings


def test_a_held_conversation_is_a_busy_thread() -> None:
    body = b'{"error":{"message":"Another process is currently operating on this conversation.",'
    body += b'"type":"invalid_request_error","param":"conversation","code":"conversation_locked"}}'
    assert DIALECT.active_run(Reply(400, {}, body)) == ""
    assert DIALECT.active_run(Reply(400, {}, b'{"error":{"code":"invalid"}}')) is None


def test_a_snippet_shows_the_call_without_the_key() -> None:
    call = DIALECT.snippet(a_job(b'{"model":"m"}', thread_id=None), TAG)
    assert "Authorization" not in dict(call.headers)
    assert ("Authorization", "Bearer k") in DIALECT.headers("k")


def test_an_option_that_is_wrong_is_told() -> None:
    with pytest.raises(UsageError, match="neither 0 nor 1"):
        named("responses", {"conversation": "yes"})
    with pytest.raises(UsageError, match="did you mean conversation"):
        named("responses", {"conversations": "1"})
