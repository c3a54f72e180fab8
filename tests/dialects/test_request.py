"""Plain requests from OpenAI Batch lines: one exchange is one run (reference 10.10)."""

import json
from urllib.parse import unquote, urlsplit

import pytest
from dialects.driven import KEY, a_job, accepted, answered, checked, complaints
from hypothesis import given
from hypothesis import strategies as st

from runner.core.call import Reply
from runner.core.errors import UsageError
from runner.core.model import Accepted, Kind, Proofs, Usage
from runner.dialects.dialect import Dialect, Tag, UnreadableError
from runner.dialects.named import named

DIALECT: Dialect = named("request")
TAG = Tag()
CHAT = "/v1/chat/completions"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "choices": [{"message": {"role": "assistant", "content": "four"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def a_line(url: str = CHAT, **body: object) -> dict[str, object]:
    return {"custom_id": "a", "method": "POST", "url": url, "body": body}


def test_a_good_line_keeps_its_body_byte_for_byte() -> None:
    line = b'{"custom_id":"a","method":"POST","url":"%s","body":{ "model":"m", "t":1.50,"n":1e3 }}'
    line_accepted = accepted(DIALECT, line % CHAT.encode())
    assert line_accepted == Accepted(
        thread_id=None,
        body=b'{ "model":"m", "t":1.50,"n":1e3 }',
        extra=b'{"url":"/v1/chat/completions"}',
        lane=f"{CHAT} m",
    )


def test_a_native_line_is_refused_with_how_to_write_it() -> None:
    told = complaints(DIALECT, {"custom_id": "a", "assistant_id": "asst_1"})
    assert '"method": "POST"' in told[""]


def test_every_fault_of_the_envelope_is_told() -> None:
    line = {"method": "GET", "urll": "/v1/x", "body": [], "model": "m"}
    assert complaints(DIALECT, line).keys() == {"method", "urll", "url", "body", "model"}


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("body.stream", a_line(stream=True)),
        ("body.background", a_line("/v1/responses", background=True)),
        ("url", a_line("/v1/threads/thread_a/runs")),
        ("url", a_line("/v1/threads/runs")),
        ("url", a_line("https://elsewhere.example/v1/x")),
        ("url", a_line("//elsewhere.example/v1/x")),
        ("url", a_line("/v1//elsewhere.example/x")),
        ("url", a_line("/v1/../admin")),
        ("url", a_line("/v1/%2e%2e/admin")),
        ("url", a_line("/v1/..%2fadmin")),
        ("url", a_line("/v1/a%5c..%5cadmin")),
        ("url", a_line("/v1/a b")),
        ("url", a_line("/v1/a\r\nHost: x")),
        ("url", a_line("/v1/a#b")),
        ("url", a_line("/v1/a?b c")),
        ("url", a_line("/v1/%zz")),
        ("url", a_line("/v1")),
        ("url", a_line("v1/embeddings")),
        ("url", a_line("")),
    ],
)
def test_what_cannot_be_carried_as_one_exchange_to_the_base_is_refused(
    field: str, line: dict[str, object]
) -> None:
    assert complaints(DIALECT, line).keys() == {field}


@pytest.mark.parametrize("url", ["https://elsewhere.example/v1/x", "//elsewhere.example/v1/x"])
def test_a_whole_address_is_told_as_one(url: str) -> None:
    assert "without scheme and host" in complaints(DIALECT, a_line(url))["url"]


@given(st.text(alphabet="/v1.%2e5cf\\?#:@ax ", max_size=14).map(lambda text: f"/v1/{text}"))
def test_no_accepted_url_leaves_the_base_url(url: str) -> None:
    line = checked(DIALECT, a_line(url))
    if isinstance(line, list):
        return
    call = next(DIALECT.create(a_job(line.body, extra=line.extra), TAG, stream=False))
    whole = urlsplit(f"https://base.example/v1{call.path}?{call.query}")
    assert whole.netloc == "base.example"
    assert not whole.fragment
    steps = unquote(whole.path).replace("\\", "/").split("/")
    assert ".." not in steps
    assert "." not in steps
    assert call.path.startswith("/")
    assert not call.path.startswith("//")


@pytest.mark.parametrize(
    ("options", "url", "path", "query"),
    [
        ({}, CHAT, "/chat/completions", ""),
        ({}, "/v1/x?api-version=1&a=b", "/x", "api-version=1&a=b"),
        ({}, "/v1/v1/x", "/v1/x", ""),
        ({}, "/v1beta/x", "/v1beta/x", ""),
        ({}, "/embed", "/embed", ""),
        ({"prefix": ""}, CHAT, CHAT, ""),
        ({"prefix": "/api/"}, "/api/x", "/x", ""),
    ],
)
def test_what_the_base_url_ends_in_is_not_said_twice(
    options: dict[str, str], url: str, path: str, query: str
) -> None:
    dialect = named("request", options)
    line = accepted(dialect, a_line(url))
    call = next(dialect.create(a_job(line.body, extra=line.extra), TAG, stream=False))
    assert (call.method, call.path, call.query) == ("POST", path, query)


def answer_to(reply: object) -> tuple[str, str, Kind]:
    line = accepted(DIALECT, a_line(model="m"))
    job = a_job(line.body, extra=line.extra, thread_id=None)
    (call,), run = answered(DIALECT.create(job, TAG, stream=True), reply)
    assert (call.creates, call.streams, call.body) == (True, False, b'{"model": "m"}')
    assert call.headers == (("Idempotency-Key", KEY),)
    return run.id, run.status, run.kind


@pytest.mark.parametrize(
    ("reply", "run"),
    [
        (ANSWER, ("chatcmpl-1", "completed", Kind.SUCCEEDED)),
        (
            Reply(200, {"x-request-id": "req_1"}, b'{"data":[]}'),
            ("req_1", "completed", Kind.SUCCEEDED),
        ),
        (b'{"data":[]}', (KEY, "completed", Kind.SUCCEEDED)),
        (b"[[0.1,0.2]]", (KEY, "completed", Kind.SUCCEEDED)),
        (b'{"id":7,"error":null}', ("7", "completed", Kind.SUCCEEDED)),
        # A gateway that answers 200 for a failure of the model behind it.
        (b'{"error":{"code":502,"message":"upstream"}}', (KEY, "failed", Kind.FAILED)),
        (
            {"id": "resp_1", "object": "response", "status": "incomplete", "error": None},
            ("resp_1", "incomplete", Kind.FAILED),
        ),
    ],
)
def test_the_answer_is_the_run_at_its_end(reply: object, run: tuple[str, str, Kind]) -> None:
    assert answer_to(reply) == run


@pytest.mark.parametrize("body", [b"", b"<html>", b'"text"', b"[1", b"null", b"7"])
def test_an_answer_that_is_no_json_object_is_doubt(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        answer_to(body)


def test_the_answer_is_kept_as_it_came_on_one_line() -> None:
    job = a_job(b"{}", extra=b'{"url":"/v1/embeddings"}')
    body = b'{\n  "id": "x",\r\n  "vector": [1.10, 1e3]\n}\n'
    _, run = answered(DIALECT.create(job, TAG, stream=False), body)
    assert run.raw == b'{   "id": "x",    "vector": [1.10, 1e3] }'


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}, Usage(3, 1, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0, 3)),
        ({"input_tokens": 3, "output_tokens": 1}, Usage(3, 1, 4)),
        (None, None),
        ("3", None),
    ],
)
def test_tokens_are_read_in_any_spelling(usage: object, read: Usage | None) -> None:
    job = a_job(b"{}", extra=b'{"url":"/v1/x"}')
    _, run = answered(DIALECT.create(job, TAG, stream=False), {"id": "x", "usage": usage})
    assert run.usage == read


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (ANSWER, "four"),
        ({"choices": [{"text": "five"}]}, "five"),
        ({"output": [{"type": "message", "content": [{"text": "six"}]}]}, "six"),
        ({"choices": []}, None),
        ({"choices": [{"message": {"content": None}}]}, None),
        ({"data": [{"embedding": [0.1]}]}, None),
        ([1], None),
    ],
)
def test_the_text_is_found_in_each_form_of_answer(answer: object, text: str | None) -> None:
    assert DIALECT.output_text(json.dumps(answer).encode(), []) == text


def test_there_is_nothing_to_ask_for_afterwards() -> None:
    with pytest.raises(UnreadableError):
        DIALECT.read("", "x", TAG)
    with pytest.raises(UnreadableError):
        DIALECT.runs_of("", 0, TAG)
    with pytest.raises(UnreadableError):
        DIALECT.cancel("", "x", TAG)
    assert not DIALECT.makes_thread(a_job(b"{}", thread_id=None))
    assert DIALECT.proofs == Proofs(stateless=True)


def test_no_refusal_is_about_a_busy_thread() -> None:
    body = b'{"error":{"message":"Thread t already has an active run run_b."}}'
    assert DIALECT.active_run(Reply(400, {}, body)) is None
    assert DIALECT.error_of(Reply(400, {}, body)).message.startswith("Thread t")


def test_a_snippet_shows_the_call_without_the_key() -> None:
    call = DIALECT.snippet(a_job(b"{}", extra=b'{"url":"/v1/x"}'), TAG)
    assert "Authorization" not in dict(call.headers)
    assert ("Idempotency-Key", KEY) in call.headers


def test_a_prefix_that_is_no_path_is_told() -> None:
    with pytest.raises(UsageError, match="no path"):
        named("request", {"prefix": "v1"})
