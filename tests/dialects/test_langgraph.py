"""LangGraph: the situations of a run, as a server of langgraph-api 0.16.7 answered them."""

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest
from dialects.driven import KEY, a_job, accepted, answered, as_reply, complaints
from hypothesis import given
from hypothesis import strategies as st

from runner.core.call import Reply
from runner.core.model import Kind, Proofs
from runner.dialects import langgraph
from runner.dialects.dialect import Dialect, Tag, UnreadableError
from runner.dialects.named import named

DIALECT: Dialect = named("langgraph")
TAG = Tag()
THREAD = "4c7ca38e-a747-592a-bf8b-02e2d1293dc0"
RUN_ID = "01a2101e-5df7-74f4-8576-7f17d753f005"
BUSY = (
    b'{"detail":"Thread is already running a task. Wait for it to finish or choose a different'
    b' multitask strategy."}'
)


def a_run(run_id: str = RUN_ID, status: str = "pending", created: str = "00") -> dict[str, object]:
    return {
        "run_id": run_id,
        "thread_id": THREAD,
        "assistant_id": "fe096781-5601-53d2-b2f6-0d3403f7e9ca",
        "metadata": {"created_by": "system", "graph_id": "agent", "runner_key": KEY, "n": 1.5},
        "status": status,
        "kwargs": {"input": {"messages": []}},
        "multitask_strategy": "reject",
        "created_at": f"2026-11-25T00:32:{created}.500000+00:00",
        "updated_at": "2026-11-25T00:33:00+00:00",
    }


# Lines


def test_a_good_line_goes_out_with_its_numbers_as_they_were_written() -> None:
    line = (
        b'{"custom_id":"a","thread_id":"%s","assistant_id":"agent",'
        b'"input":{"n":1.50,"big":123456789012345678901234},"metadata":{"deep":{"x":1e3}}}'
    ) % THREAD.encode()
    line_accepted = accepted(DIALECT, line)
    assert line_accepted.thread_id == THREAD
    assert line_accepted.lane == "agent"
    assert line_accepted.body == (
        b'{"assistant_id":"agent","input":{"n":1.50,"big":123456789012345678901234},'
        b'"metadata":{"deep":{"x":1e3}}}'
    )


def test_a_batch_line_names_its_thread_in_the_url() -> None:
    line_accepted = accepted(
        DIALECT,
        {"method": "POST", "url": f"/threads/{THREAD}/runs", "body": {"assistant_id": "agent"}},
    )
    assert line_accepted.thread_id == THREAD
    assert line_accepted.body == b'{"assistant_id": "agent"}'


def test_every_fault_of_a_line_is_told_with_its_path() -> None:
    assert complaints(
        DIALECT,
        {
            "assistant_id": 3,
            "inptu": {},
            "config": None,
            "command": {"rezume": 1},
            "stream_mode": ["values", "valuess"],
            "interrupt_before": ["node", 1],
            "after_seconds": -1,
            "thread_id": "abc",
        },
    ).keys() == {
        "assistant_id",
        "inptu",
        "config",
        "command.rezume",
        "stream_mode[1]",
        "interrupt_before[1]",
        "after_seconds",
        "thread_id",
    }


@pytest.mark.parametrize(
    ("field_name", "members"),
    [
        ("multitask_strategy", {"multitask_strategy": "enqueue", "thread_id": THREAD}),
        ("multitask_strategy", {"multitask_strategy": "interrupt", "thread_id": THREAD}),
        ("multitask_strategy", {"multitask_strategy": "rollback", "thread_id": THREAD}),
        ("on_disconnect", {"on_disconnect": "cancel"}),
        ("if_not_exists", {"if_not_exists": "create"}),
        ("command", {"input": 1, "command": {"resume": 2}}),
        ("thread", {"thread": {}, "thread_id": THREAD}),
        ("thread.thread_id", {"thread": {"thread_id": THREAD}}),
        ("thread.if_exists", {"thread": {"if_exists": "raise"}}),
        ("metadata", {"metadata": {"runner_key": "mine"}}),
        ("metadata", b'{"assistant_id":"a","metadata":{"runner\\u005fkey":"mine"}}'),
        ("stream", {"stream": True}),
        ("assistant_id", {"input": 1, "assistant_id": ""}),
    ],
)
def test_what_would_break_the_promise_is_refused(
    field_name: str, members: dict[str, object] | bytes
) -> None:
    line = members if isinstance(members, bytes) else {"assistant_id": "agent", **members}
    assert complaints(DIALECT, line).keys() == {field_name}


def test_half_a_character_is_sent_on_in_a_value_and_refused_in_a_thread_id() -> None:
    # JSON's grammar allows a lone surrogate, and msgspec does not.
    line = b'{"assistant_id":"\\ud800","input":"\\ud800","thread":{"metadata":{"a":"\\ud800"}}}'
    line_accepted = accepted(DIALECT, line)
    assert line_accepted.body == b'{"assistant_id":"\\ud800","input":"\\ud800"}'
    assert line_accepted.lane == "?"
    line = b'{"assistant_id":"a","thread_id":"\\ud800"}'
    assert complaints(DIALECT, line, lenient=True).keys() == {"thread_id"}


def test_a_lenient_check_sends_what_it_does_not_know() -> None:
    line = {"assistant_id": "a", "brand_new": 1.0, "thread_id": "thread-7"}
    line_accepted = accepted(DIALECT, line, lenient=True)
    assert line_accepted.thread_id == "thread-7"
    assert json.loads(line_accepted.body) == {"assistant_id": "a", "brand_new": 1.0}


def test_a_named_thread_that_may_be_missing_is_made_before_its_run_and_never_by_it() -> None:
    # A thread that a run makes keeps the run's metadata: our tag would go on to others' runs.
    line = {"assistant_id": "a", "thread_id": THREAD, "if_not_exists": "create"}
    job = a_job(accepted(DIALECT, line).body, thread_id=THREAD)
    assert DIALECT.makes_thread(job)
    (making,), _ = answered(DIALECT.make_thread(job, TAG), {"thread_id": THREAD})
    assert json.loads(making.body or b"") == {"thread_id": THREAD, "if_exists": "do_nothing"}
    (call,), _ = answered(DIALECT.create(job, TAG, stream=False), a_run())
    assert json.loads(call.body or b"")["if_not_exists"] == "reject"
    there = a_job(b'{"assistant_id":"a","metadata":{"x":"create"}}', thread_id=THREAD)
    assert not DIALECT.makes_thread(there)


# Threads


def test_a_thread_made_twice_for_a_job_is_the_same_thread_and_bears_no_tag() -> None:
    job = a_job(b'{"assistant_id":"a"}', thread_id=None)
    assert DIALECT.makes_thread(job)
    (first,), thread_id = answered(DIALECT.make_thread(job, TAG), {"thread_id": THREAD})
    (again,), _ = answered(DIALECT.make_thread(job, TAG), {"thread_id": THREAD})
    assert thread_id == THREAD
    assert first == again
    assert (first.method, first.path) == ("POST", "/threads")
    made = json.loads(first.body or b"")
    # A run inherits its thread's metadata: a tag here would claim every run on the thread.
    assert made.keys() == {"thread_id", "if_exists"}
    assert made["if_exists"] == "do_nothing"
    assert KEY not in json.dumps(made)


def test_a_thread_with_a_history_gets_its_id_from_the_server() -> None:
    # A repeat under one id would apply the history twice (seen).
    line_accepted = accepted(
        DIALECT, {"assistant_id": "a", "thread": {"metadata": {"u": 1}, "supersteps": []}}
    )
    job = a_job(line_accepted.body, extra=line_accepted.extra, thread_id=None)
    (call,), _ = answered(DIALECT.make_thread(job, TAG), {"thread_id": THREAD})
    assert json.loads(call.body or b"") == {
        "metadata": {"u": 1},
        "supersteps": [],
        "if_exists": "do_nothing",
    }


def test_a_thread_without_an_id_is_unreadable() -> None:
    job = a_job(b'{"assistant_id":"a"}', thread_id=None)
    with pytest.raises(UnreadableError):
        answered(DIALECT.make_thread(job, TAG), {"status": "idle"})


# Runs


def test_a_create_is_one_marked_call_and_never_enqueues() -> None:
    job = a_job(b'{"assistant_id":"a","input":1.50,"metadata":{"u":1}}', thread_id=THREAD)
    (call,), run = answered(DIALECT.create(job, TAG, stream=False), a_run())
    assert (call.method, call.path, call.creates, call.streams) == (
        "POST",
        f"/threads/{THREAD}/runs",
        True,
        False,
    )
    assert call.headers == (("Idempotency-Key", KEY),)
    assert (
        call.body
        == (
            b'{"assistant_id":"a","input":1.50,"metadata":{"u":1,"runner_key":"%s"},'
            b'"multitask_strategy":"reject","on_disconnect":"continue","if_not_exists":"reject"}'
        )
        % KEY.encode()
    )
    assert (run.id, run.thread_id, run.tag, run.kind) == (RUN_ID, THREAD, KEY, Kind.ACTIVE)
    assert run.created_s == pytest.approx(1795566720.5)


def test_a_streamed_create_goes_to_its_own_path_and_the_first_event_names_the_run() -> None:
    job = a_job(b'{"assistant_id":"a"}', thread_id=THREAD)
    call = next(DIALECT.create(job, TAG, stream=True))
    assert (call.path, call.streams, call.creates) == (f"/threads/{THREAD}/runs/stream", True, True)
    news = DIALECT.event("metadata", json.dumps({"run_id": RUN_ID, "attempt": 1}), TAG)
    assert news.run is not None
    assert (news.run.id, news.run.kind, news.done) == (RUN_ID, Kind.ACTIVE, False)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"run_id":"x"}', b"[1"])
def test_a_create_whose_body_is_lost_is_known_by_its_header(body: bytes) -> None:
    job = a_job(b'{"assistant_id":"a"}', thread_id=THREAD)
    place = {"content-location": f"/threads/{THREAD}/runs/{RUN_ID}"}
    _, run = answered(DIALECT.create(job, TAG, stream=False), Reply(200, place, body))
    assert (run.id, run.thread_id, run.kind) == (RUN_ID, THREAD, Kind.ACTIVE)
    with pytest.raises(UnreadableError):
        answered(DIALECT.create(job, TAG, stream=False), Reply(200, {}, body))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("pending", Kind.ACTIVE),
        ("running", Kind.ACTIVE),
        ("success", Kind.SUCCEEDED),
        ("error", Kind.FAILED),
        ("timeout", Kind.FAILED),
        ("interrupted", Kind.CANCELLED),
        ("brand_new", Kind.FAILED),
    ],
)
def test_a_status_is_read_verbatim_and_an_unknown_one_ends_the_follow(
    status: str, kind: Kind
) -> None:
    replies = [a_run(status=status), *([[]] if kind is Kind.FAILED else [])]
    calls, run = answered(DIALECT.read(THREAD, RUN_ID, TAG), *replies)
    assert calls[0].path == f"/threads/{THREAD}/runs/{RUN_ID}"
    assert (run.status, run.kind) == (status, kind)
    assert bool(run.ended_s) == (kind is not Kind.ACTIVE)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ("ValueError('boom')", ("valueerror", "boom")),
        ('KeyError("it\'s gone")', ("keyerror", "it's gone")),
        ("GraphError('a', 1)", ("grapherror", "'a', 1")),
        ("no exception", ("", "no exception")),
    ],
)
def test_a_failed_runs_error_is_asked_of_the_state_in_which_it_ended(
    told: str, error: tuple[str, str]
) -> None:
    failed = a_run(status="error")
    history = [{"values": None, "tasks": [{"error": None}, {"error": told}]}]
    (_, call), run = answered(DIALECT.read(THREAD, RUN_ID, TAG), failed, history)
    assert (call.method, call.path) == ("POST", f"/threads/{THREAD}/history")
    assert json.loads(call.body or b"") == {"limit": 1, "metadata": {"run_id": RUN_ID}}
    assert run.error is not None
    assert (run.error.type, run.error.message) == error


@pytest.mark.parametrize("told", [Reply(500, {}, b"{}"), Reply(404, {}, b"x"), {}, [{"tasks": 1}]])
def test_a_failed_run_whose_state_cannot_be_read_has_failed_all_the_same(told: object) -> None:
    (_, call), run = answered(DIALECT.read(THREAD, RUN_ID, TAG), a_run(status="error"), told)
    assert call.optional
    assert (run.status, run.kind, run.error) == ("error", Kind.FAILED, None)


def test_a_run_with_odd_metadata_and_times_is_still_a_run() -> None:
    odd: dict[str, object] = {
        "run_id": "r",
        "status": "running",
        "metadata": None,
        "created_at": 7,
        "updated_at": [],
    }
    _, run = answered(DIALECT.read(THREAD, "r", TAG), odd)
    assert (run.id, run.tag, run.created_s) == ("r", "", 7.0)


def test_a_cancel_interrupts_and_then_reads() -> None:
    calls, run = answered(
        DIALECT.cancel(THREAD, RUN_ID, TAG), Reply(202, {}, b""), a_run(status="interrupted")
    )
    assert [(call.method, call.path, call.query) for call in calls] == [
        ("POST", f"/threads/{THREAD}/runs/{RUN_ID}/cancel", "wait=0&action=interrupt"),
        ("GET", f"/threads/{THREAD}/runs/{RUN_ID}", ""),
    ]
    assert run.kind is Kind.CANCELLED


def test_a_thread_id_never_leaves_its_segment() -> None:
    call = next(DIALECT.read("../x?y#z%2F", "..", TAG))
    assert call.path == "/threads/..%2Fx%3Fy%23z%252F/runs/%2E%2E"


# The list


@dataclass
class Listed:
    """A server's list of runs: bare array, offset paging, its own cap of a page.

    Before each page it makes or deletes as many as `changes` say, the latter from the front, where
    it moves most.
    """

    runs: list[str]
    cap: int
    newest_first: bool
    changes: list[int] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    made: int = 0

    def page(self, query: str) -> bytes:
        change = self.changes.pop(0) if self.changes else 0
        if change < 0:
            self.gone.update(self.runs[:-change])
            del self.runs[:-change]
        for _ in range(change):
            self.made += 1
            self.runs.insert(0 if self.newest_first else len(self.runs), f"new{self.made}")
        asked = parse_qs(query)
        offset = int(asked["offset"][0])
        limit = min(int(asked["limit"][0]), self.cap)
        return json.dumps([a_run(one) for one in self.runs[offset : offset + limit]]).encode()


def read_whole(server: Listed) -> tuple[int, set[str]]:
    flow = DIALECT.runs_of(THREAD, 0, TAG)
    call, pages = next(flow), 1
    try:
        while True:
            call, pages = flow.send(as_reply(server.page(call.query))), pages + 1
    except StopIteration as end:
        return pages, {run.id for run in end.value}


@given(
    st.integers(0, 350),
    st.sampled_from([10, 37, 100, 1000]),
    st.sampled_from(["newest first", "oldest first"]),
    st.lists(st.integers(-4, 3), max_size=8),
)
def test_no_run_that_was_there_throughout_is_missed_whatever_else_comes_and_goes(
    count: int, cap: int, order: str, changes: list[int]
) -> None:
    first = [f"r{index}" for index in range(count)]
    server = Listed(list(first), cap, order == "newest first", list(changes))
    try:
        _, found = read_whole(server)
    except UnreadableError:
        assert any(change < 0 for change in changes)  # a failed look is no look
        return
    assert set(first) - server.gone <= found


def test_an_empty_list_costs_one_call() -> None:
    assert read_whole(Listed([], 100, newest_first=True)) == (1, set())
    assert read_whole(Listed(["r1"], 100, newest_first=True)) == (1, {"r1"})


def test_a_server_that_ignores_paging_is_read_once_more_and_no_further() -> None:
    whole = [a_run(f"r{index}") for index in range(30)]
    calls, runs = answered(DIALECT.runs_of(THREAD, 0, TAG), whole, whole)
    assert [call.query for call in calls] == ["limit=100&offset=0", "limit=100&offset=29"]
    assert len(runs) == 30


def test_runs_come_newest_first_whatever_the_servers_order() -> None:
    shuffled = [a_run("b", created="02"), a_run("c", created="03"), a_run("a", created="01")]
    _, runs = answered(DIALECT.runs_of(THREAD, 0, TAG), shuffled)
    assert [run.id for run in runs] == ["c", "b", "a"]


@pytest.mark.parametrize("body", [b"{}", b"null", b'[{"status":"pending"}]', b"<html>"])
def test_a_list_that_cannot_be_read_whole_is_no_list(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        answered(DIALECT.runs_of(THREAD, 0, TAG), body)


# Messages, steps, text

HISTORY = [
    {"values": {"messages": [{"role": "user", "content": "hi"}, {"type": "ai", "content": "ho"}]}},
    {"values": {"messages": []}, "tasks": [{"error": "ValueError('boom')"}]},
]


def test_messages_are_those_of_the_state_in_which_this_run_left_the_thread() -> None:
    (call,), messages = answered(DIALECT.messages(THREAD, RUN_ID), HISTORY[:1])
    assert (call.method, call.path, call.creates) == ("POST", f"/threads/{THREAD}/history", False)
    assert json.loads(call.body or b"") == {"limit": 1, "metadata": {"run_id": RUN_ID}}
    assert messages == [b'{"role": "user", "content": "hi"}', b'{"type": "ai", "content": "ho"}']
    assert DIALECT.output_text(b"{}", messages) == "ho"


@pytest.mark.parametrize("history", [[], [{}], [{"values": [1]}], [{"values": {"messages": 1}}]])
def test_a_state_without_messages_has_none(history: list[object]) -> None:
    assert answered(DIALECT.messages(THREAD, RUN_ID), history)[1] == []


def test_steps_are_the_states_of_the_run_oldest_first_with_their_errors() -> None:
    _, steps = answered(DIALECT.steps(THREAD, RUN_ID), HISTORY)
    assert [json.loads(step) for step in steps] == HISTORY[::-1]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "ai", "content": [{"type": "text", "text": "a"}, {"type": "x"}]}, "a"),
        ({"role": "assistant", "content": "b"}, "b"),
        ({"type": "human", "content": "c"}, None),
        ({"type": "ai", "content": None}, None),
    ],
)
def test_the_text_is_the_graphs_own_last_message(message: object, text: str | None) -> None:
    assert DIALECT.output_text(b"{}", [json.dumps(message).encode()]) == text


# Events and refusals


def test_a_graphs_failure_ends_its_stream() -> None:
    news = DIALECT.event("error", '{"error":"ValueError","message":"boom happened"}', TAG)
    assert news.done
    assert news.error is not None
    assert (news.error.type, news.error.message) == ("valueerror", "boom happened")


def test_text_comes_as_message_chunks_and_other_events_tell_nothing() -> None:
    chunk = '[{"type":"AIMessageChunk","content":"he"},{"langgraph_node":"n"}]'
    assert DIALECT.event("messages|sub:1", chunk, TAG).delta == "he"
    for name, data in (("values", "{}"), ("metadata", "no"), ("messages", "1"), ("error", "[]")):
        news = DIALECT.event(name, data, TAG)
        assert (news.run, news.done, news.error, news.delta) == (None, False, None, "")


@pytest.mark.parametrize(
    ("reply", "active"),
    [
        (Reply(409, {}, BUSY), ""),
        (Reply(422, {}, BUSY), ""),
        (Reply(400, {}, BUSY), None),
        (Reply(409, {}, b'{"detail":"Thread already exists."}'), None),
        (Reply(422, {}, b'{"detail":"Invalid assistant: \'nope\'."}'), None),
        (Reply(500, {}, BUSY), None),
    ],
)
def test_a_busy_thread_is_known_by_its_text(reply: Reply, active: str | None) -> None:
    assert DIALECT.active_run(reply) == active


def test_a_validation_error_is_told_with_its_place() -> None:
    body = b'{"detail":[{"loc":["body","assistant_id"],"msg":"field required","type":"missing"}]}'
    assert DIALECT.error_of(Reply(422, {}, body)).message == "body.assistant_id: field required"


def test_a_snippet_shows_the_call_without_the_key() -> None:
    call = DIALECT.snippet(a_job(b'{"assistant_id":"a"}', thread_id=THREAD), TAG)
    assert "x-api-key" not in dict(call.headers)
    assert ("Content-Type", "application/json") in call.headers
    assert ("x-api-key", "k") in DIALECT.headers("k")


def test_the_dialect_tells_what_it_can_prove_and_where_it_looks_for_settings() -> None:
    assert DIALECT.proofs == Proofs(lists=True, tags=True, locks=True)
    assert DIALECT.base_url is None
    assert DIALECT.key_variables[0] == "LANGGRAPH_API_KEY"
    assert set(DIALECT.statuses) == set(langgraph.STATUSES)
