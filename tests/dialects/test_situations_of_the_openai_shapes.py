"""The same situations for each dialect of the Assistants shape.

Replies are literals from the reference: openai/openai-openapi 2.3.0 and the four seed documents,
MicrosoftDocs/azure-ai-docs, Azure/azure-rest-api-specs, and the issues named at each.
"""

import json
from dataclasses import dataclass

import pytest
from dialects.driven import KEY, a_job, accepted, answered

from runner.core.call import Call, Reply
from runner.core.model import ApiError, Kind, Proofs
from runner.dialects.dialect import Dialect, Tag, UnreadableError
from runner.dialects.named import named

TAG = Tag()


@dataclass(frozen=True)
class Spelling:
    """How a dialect spells what all of them do."""

    name: str
    query: str
    headers: tuple[tuple[str, str], ...]
    words: frozenset[str]

    def with_query(self, query: str) -> str:
        return "&".join(part for part in (query, self.query) if part)


JSON = (("Accept", "application/json"), ("Content-Type", "application/json"))
V2_WORDS = frozenset(
    {
        "queued",
        "in_progress",
        "requires_action",
        "cancelling",
        "completed",
        "incomplete",
        "failed",
        "cancelled",
        "expired",
    }
)
SPELLINGS = [
    Spelling(
        "openai",
        "",
        (("Authorization", "Bearer k"), ("OpenAI-Beta", "assistants=v2"), *JSON),
        V2_WORDS,
    ),
    Spelling(
        "openai-v1",
        "",
        (("Authorization", "Bearer k"), ("OpenAI-Beta", "assistants=v1"), *JSON),
        V2_WORDS - {"incomplete"},
    ),
    Spelling(
        "azure",
        "api-version=2024-08-01-preview",
        (("api-key", "k"), ("OpenAI-Beta", "assistants=v2"), *JSON),
        V2_WORDS,
    ),
    Spelling("foundry", "api-version=v1", (("Authorization", "Bearer k"), *JSON), V2_WORDS),
]


@pytest.fixture(params=SPELLINGS, ids=lambda one: str(one.name))
def spelling(request: pytest.FixtureRequest) -> Spelling:
    one = request.param
    assert isinstance(one, Spelling)
    return one


@pytest.fixture
def dialect(spelling: Spelling) -> Dialect:
    return named(spelling.name)


def a_run(run_id: str = "run_a", **fields: object) -> dict[str, object]:
    run: dict[str, object] = {
        "id": run_id,
        "object": "thread.run",
        "created_at": 1710348075,
        "assistant_id": "asst_a",
        "thread_id": "thread_a",
        "status": "queued",
        "metadata": {"runner_key": KEY},
        "usage": None,
    }
    return run | fields


def a_page(*runs: dict[str, object], more: bool = False) -> dict[str, object]:
    ids = [run["id"] for run in runs] or [None]
    page: dict[str, object] = {"object": "list", "data": list(runs), "has_more": more}
    return page | {"first_id": ids[0], "last_id": ids[-1]}


def test_it_declares_what_it_is(spelling: Spelling, dialect: Dialect) -> None:
    assert dialect.name == spelling.name
    assert dialect.proofs == Proofs(keys=False, lists=True, tags=True, locks=True, stateless=False)
    assert dialect.base_url is None
    assert frozenset(dialect.statuses) == spelling.words
    assert dialect.headers("k") == spelling.headers
    assert dialect.headers(None) == spelling.headers[1:]


def test_a_create_is_one_call_with_the_key_as_header_and_as_tag(
    spelling: Spelling, dialect: Dialect
) -> None:
    job = a_job(b'{"assistant_id":"asst_a","metadata":{"case": "1"},"model":null}')
    calls, run = answered(dialect.create(job, TAG, stream=False), a_run())
    assert calls == [
        Call(
            "POST",
            "/threads/thread_a/runs",
            spelling.query,
            b'{"assistant_id":"asst_a","metadata":{"case": "1","runner_key":"%b"},"model":null}'
            % KEY.encode(),
            (("Idempotency-Key", KEY),),
            creates=True,
        )
    ]
    assert (run.id, run.status, run.kind, run.tag) == ("run_a", "queued", Kind.ACTIVE, KEY)
    assert run.created_s == 1710348075
    assert answered(dialect.create(job, TAG, stream=False), a_run())[0] == calls


def test_a_streamed_create_asks_for_the_stream(dialect: Dialect) -> None:
    job = a_job(b'{"assistant_id":"asst_a"}')
    [call], _ = answered(dialect.create(job, TAG, stream=True), a_run())
    assert call.streams
    assert call.creates
    assert call.body is not None
    assert json.loads(call.body)["stream"] is True


def test_without_a_tag_the_body_goes_out_as_it_is(dialect: Dialect) -> None:
    [call], _ = answered(
        dialect.create(a_job(b'{"assistant_id":"a"}'), Tag(""), stream=False), a_run()
    )
    assert call.body == b'{"assistant_id":"a"}'


def test_a_snippet_is_the_create_call_without_the_key(dialect: Dialect) -> None:
    job = a_job(b'{"assistant_id":"asst_a"}')
    [call], _ = answered(dialect.create(job, TAG, stream=False), a_run())
    snippet = dialect.snippet(job, TAG)
    assert (snippet.method, snippet.path, snippet.query, snippet.body) == (
        call.method,
        call.path,
        call.query,
        call.body,
    )
    assert snippet.headers == (*dialect.headers(None), *call.headers)


def test_a_thread_is_made_for_a_job_without_one(spelling: Spelling, dialect: Dialect) -> None:
    job = a_job(b'{"assistant_id":"asst_a"}', thread_id=None)
    assert dialect.makes_thread(job)
    assert not dialect.makes_thread(a_job(b"{}"))
    made = {"id": "thread_new", "object": "thread", "created_at": 1, "metadata": {}}
    [call], thread_id = answered(dialect.make_thread(job, TAG), made)
    assert thread_id == "thread_new"
    assert call == Call(
        "POST", "/threads", spelling.query, b'{"metadata":{"runner_key":"%b"}}' % KEY.encode()
    )


def test_a_thread_that_the_line_describes_is_made_as_it_is_written(dialect: Dialect) -> None:
    line = (
        b'{"assistant_id":"asst_a","thread":{"messages": [{"role":"user",'
        b'"content":"\\u00e9 9007199254740993"}], "metadata": {"k":"v"}}}'
    )
    good = accepted(dialect, line)
    assert good.thread_id is None
    job = a_job(good.body, extra=good.extra, thread_id=None)
    [call], _ = answered(dialect.make_thread(job, TAG), {"id": "thread_new"})
    assert call.body == (
        b'{"messages":[{"role":"user","content":"\\u00e9 9007199254740993"}],'
        b'"metadata":{"k":"v","runner_key":"%b"}}' % KEY.encode()
    )


def test_a_thread_with_sixteen_pairs_of_its_own_goes_without_the_tag(dialect: Dialect) -> None:
    pairs = {f"k{i}": "v" for i in range(16)}
    good = accepted(dialect, {"assistant_id": "a", "thread": {"metadata": pairs}})
    job = a_job(good.body, extra=good.extra, thread_id=None)
    [call], _ = answered(dialect.make_thread(job, TAG), {"id": "thread_new"})
    assert call.body is not None
    assert json.loads(call.body)["metadata"] == pairs


def test_a_thread_answer_without_an_id_is_unreadable(dialect: Dialect) -> None:
    with pytest.raises(UnreadableError):
        answered(dialect.make_thread(a_job(b"{}", thread_id=None), TAG), {"object": "thread"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"[]",
        b'{"object":"thread.run"}',
        b'{"id":7,"status":"queued"}',
        b"{",
    ],
)
def test_a_create_answer_that_holds_no_run_is_unreadable(dialect: Dialect, body: bytes) -> None:
    with pytest.raises(UnreadableError):
        answered(dialect.create(a_job(b'{"assistant_id":"a"}'), TAG, stream=False), body)


def test_the_list_is_read_newest_first_page_by_page(spelling: Spelling, dialect: Dialect) -> None:
    calls, runs = answered(
        dialect.runs_of("thread_a", 0.0, TAG),
        a_page(a_run("run_c", created_at=30), a_run("run_b", created_at=20), more=True),
        a_page(a_run("run_a", created_at=10)),
    )
    assert [run.id for run in runs] == ["run_c", "run_b", "run_a"]
    assert [call.query for call in calls] == [
        spelling.with_query("limit=100&order=desc"),
        spelling.with_query("limit=100&order=desc&after=run_b"),
    ]
    assert {(call.method, call.path) for call in calls} == {("GET", "/threads/thread_a/runs")}
    assert not any(call.creates for call in calls)


def test_the_list_is_not_read_further_than_a_minute_before_the_first_attempt(
    dialect: Dialect,
) -> None:
    young = a_page(a_run("run_b", created_at=1000), a_run("run_a", created_at=940), more=True)
    old = a_page(a_run("run_9", created_at=939), more=True)
    _, runs = answered(dialect.runs_of("thread_a", 1000.0, TAG), young, old)
    assert [run.id for run in runs] == ["run_b", "run_a", "run_9"]


def test_a_list_in_the_wrong_order_is_read_to_its_end(dialect: Dialect) -> None:
    """The oldest first: the run that is looked for is on the last page (langchainjs#5062)."""
    first = a_page(a_run("run_1", created_at=1), a_run("run_2", created_at=2), more=True)
    _, runs = answered(
        dialect.runs_of("thread_a", 1000.0, TAG), first, a_page(a_run("run_3", created_at=1001))
    )
    assert [run.id for run in runs][-1] == "run_3"


def test_a_list_that_does_not_go_on_is_no_whole_look(dialect: Dialect) -> None:
    page = a_page(a_run("run_b"), more=True)
    with pytest.raises(UnreadableError):
        answered(dialect.runs_of("thread_a", 0.0, TAG), page, page)
    with pytest.raises(UnreadableError):
        answered(dialect.runs_of("thread_a", 0.0, TAG), a_page(more=True))


def test_runs_of_other_threads_are_passed_over_unless_they_bear_a_tag(dialect: Dialect) -> None:
    """The list of astra-assistants-api ignores the thread."""
    page = a_page(
        a_run("run_foreign", thread_id="thread_b", metadata={}),
        a_run("run_tagged", thread_id="thread_b"),
        a_run("run_ours", metadata=None),
    )
    _, runs = answered(dialect.runs_of("thread_a", 0.0, TAG), page)
    assert [run.id for run in runs] == ["run_tagged", "run_ours"]


def test_a_list_with_odd_numbers_is_read_all_the_same(dialect: Dialect) -> None:
    body = (
        b'{"object":"list","data":[{"id":"run_a","status":"queued",\n "temperature":NaN},'
        b'{"id":"run_b","status":"queued","instructions":"\\ud800 NaN"}],"has_more":false}'
    )
    _, runs = answered(dialect.runs_of("thread_a", 0.0, TAG), body)
    assert [run.raw for run in runs] == [
        b'{"id":"run_a","status":"queued",  "temperature":null}',
        b'{"id":"run_b","status":"queued","instructions":"\\ud800 NaN"}',
    ]


def test_a_run_is_read_with_the_wait_that_the_server_asks_for(
    spelling: Spelling, dialect: Dialect
) -> None:
    body = json.dumps(a_run(status="in_progress", expires_at=1710348675)).encode()
    reply = Reply(200, {"openai-poll-after-ms": "2500"}, body)
    [call], run = answered(dialect.read("thread_a", "run_a", TAG), reply)
    assert call == Call("GET", "/threads/thread_a/runs/run_a", spelling.query)
    assert (run.poll_after_ms, run.kind, run.expires_s) == (2500, Kind.ACTIVE, 1710348675)
    odd = Reply(200, {"openai-poll-after-ms": "soon"}, body)
    assert answered(dialect.read("thread_a", "run_a", TAG), odd)[1].poll_after_ms == 0


def test_a_cancel_is_asked_for_without_a_body(spelling: Spelling, dialect: Dialect) -> None:
    [call], run = answered(dialect.cancel("thread_a", "run_a", TAG), a_run(status="cancelling"))
    assert call == Call("POST", "/threads/thread_a/runs/run_a/cancel", spelling.query)
    assert run.kind is Kind.ACTIVE


def test_all_outputs_of_a_round_go_in_one_request(spelling: Spelling, dialect: Dialect) -> None:
    outputs = {"call_1": "forty-two", "call_2": "é"}
    [call], _ = answered(dialect.submit("thread_a", "run_a", outputs, TAG), a_run())
    assert call == Call(
        "POST",
        "/threads/thread_a/runs/run_a/submit_tool_outputs",
        spelling.query,
        '{"tool_outputs":[{"tool_call_id":"call_1","output":"forty-two"},'
        '{"tool_call_id":"call_2","output":"é"}]}'.encode(),
    )


def a_message(message_id: str, text: str, **fields: object) -> dict[str, object]:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return {"id": message_id, "role": "assistant", "run_id": "run_a", "content": content} | fields


def test_the_messages_of_the_run_alone_are_its_answer(spelling: Spelling, dialect: Dialect) -> None:
    calls, messages = answered(
        dialect.messages("thread_a", "run_a"),
        a_page(
            a_message("msg_1", "one"),
            a_message("msg_2", "foreign", run_id="run_b"),
            a_message("msg_3", "asked", role="user", run_id=None),
            more=True,
        ),
        a_page(a_message("msg_4", "two", run_id=None)),
    )
    assert [call.query for call in calls] == [
        spelling.with_query("limit=100&order=asc&run_id=run_a"),
        spelling.with_query("limit=100&order=asc&run_id=run_a&after=msg_3"),
    ]
    assert [json.loads(message)["id"] for message in messages] == ["msg_1", "msg_4"]
    assert dialect.output_text(b"{}", messages) == "one\ntwo"
    assert dialect.output_text(b"{}", []) is None


def test_the_steps_are_read_oldest_first(spelling: Spelling, dialect: Dialect) -> None:
    [call], steps = answered(dialect.steps("thread_a", "run_a"), a_page({"id": "step_1"}))
    assert call.path == "/threads/thread_a/runs/run_a/steps"
    assert call.query == spelling.with_query("limit=100&order=asc")
    assert steps == [b'{"id": "step_1"}']


def test_what_a_line_includes_is_asked_of_every_page_of_its_steps(
    spelling: Spelling, dialect: Dialect
) -> None:
    flow = dialect.steps("thread_a", "run_a", b'{"include":["step_details.x[*]"]}')
    calls, _ = answered(flow, a_page({"id": "step_1"}, more=True), a_page({"id": "step_2"}))
    query = "limit=100&order=asc&include%5B%5D=step_details.x%5B%2A%5D"
    assert [call.query for call in calls] == [
        spelling.with_query(query),
        spelling.with_query(f"{query}&after=step_1"),
    ]


@pytest.mark.parametrize(
    ("thread_id", "path"),
    [
        ("t/../x?y=1#z%2F é", "t%2F..%2Fx%3Fy%3D1%23z%252F%20%C3%A9"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a\\b;c:d@e&f=g+h$i,j", "a%5Cb%3Bc%3Ad%40e%26f%3Dg%2Bh%24i%2Cj"),
    ],
)
def test_a_thread_id_never_leaves_its_segment(dialect: Dialect, thread_id: str, path: str) -> None:
    [call], _ = answered(dialect.read(thread_id, "../run", TAG), a_run())
    assert call.path == f"/threads/{path}/runs/..%2Frun"


BUSY = [
    # TripSit/TripBot#939
    (400, "Thread thread_a already has an active run run_b.", "run_b"),
    # openai/openai-python#1023
    (400, "Can't add messages to thread_a while a run run_b is active.", "run_b"),
    (400, "Thread run_x already has an active run run_b.", "run_b"),
    (409, "Thread thread_a already has an active run", ""),
    (422, "Can't add messages to thread_run_1 while a run is active.", ""),
    (400, "Invalid 'thread_id': 'x'. Expected an ID that begins with 'thread'.", None),
    (429, "Thread thread_a already has an active run run_b.", None),
]


@pytest.mark.parametrize(("status", "message", "run_id"), BUSY)
def test_the_active_run_that_a_refusal_names_is_told(
    dialect: Dialect, status: int, message: str, run_id: str | None
) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    body = json.dumps({"error": error}).encode()
    assert dialect.active_run(Reply(status, {}, body)) == run_id


def test_an_error_is_read_as_the_api_spells_it(dialect: Dialect) -> None:
    body = (
        b'{"error":{"message":"You\'ve exceeded the rate limit, please slow down and try again'
        b' later.","type":"invalid_request_error","param":null,"code":"rate_limit_exceeded"}}'
    )
    assert dialect.error_of(Reply(429, {}, body)) == ApiError(
        "rate_limit_exceeded",
        "invalid_request_error",
        "You've exceeded the rate limit, please slow down and try again later.",
    )


def test_the_first_event_names_the_run(dialect: Dialect) -> None:
    news = dialect.event("thread.run.created", json.dumps(a_run()), TAG)
    assert news.run is not None
    assert (news.run.id, news.run.tag) == ("run_a", KEY)
