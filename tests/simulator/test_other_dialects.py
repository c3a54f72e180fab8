"""The simulator's other APIs, with real clients where there are any."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import openai
import pytest
from simulator_process import SimulatorProcess

pytestmark = pytest.mark.filterwarnings("ignore:.*Assistants API is deprecated:DeprecationWarning")

UUIDS = [f"00000000-0000-4000-8000-{n:012d}" for n in range(9)]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.05", "--cancel-lag", "0.05") as one:
        yield one


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Iterator[openai.OpenAI]:
    direct = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=simulator.url, api_key="sk-test", max_retries=0, http_client=direct
    ) as one:
        yield one


@pytest.fixture(scope="module")
def graphs() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0.05", "--dialect", "langgraph") as one:
        yield one


def test_a_background_response_is_read_to_its_end(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model="gpt-5", input="Say hi", background=True, metadata={"runner_key": "r1"}
    )
    ended = made
    while ended.status in {"queued", "in_progress"}:
        ended = client.responses.retrieve(made.id)
    whole = client.responses.create(model="gpt-5", input="Say hi")
    called = client.responses.create(model="gpt-5", input="x", metadata={"fate": "requires_action"})
    short = client.responses.create(model="gpt-5", input="x", metadata={"fate": "incomplete"})
    assert (made.status, ended.status) == ("queued", "completed")
    assert ended.output_text == whole.output_text == "Simulated answer to: Say hi"
    assert ended.metadata == {"runner_key": "r1"}
    assert [one.type for one in called.output] == ["function_call"]
    assert short.incomplete_details is not None
    assert short.incomplete_details.reason == "max_output_tokens"


def test_a_run_without_an_assistant_is_shown_to_whoever_inspects(
    client: openai.OpenAI, simulator: SimulatorProcess
) -> None:
    client.responses.create(model="gpt-5", input="Say hi")
    runs = list(simulator.runs().values())
    assert None in [run["assistant_id"] for run in runs]


def test_a_background_response_is_cancelled_and_a_synchronous_one_is_not(
    client: openai.OpenAI,
) -> None:
    slow = client.responses.create(
        model="gpt-5", input="x", background=True, metadata={"fate": "slow:60"}
    )
    cancelled = client.responses.cancel(slow.id)
    again = client.responses.cancel(slow.id)
    done = client.responses.create(model="gpt-5", input="x")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(done.id)
    client.responses.delete(done.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(done.id)
    with pytest.raises(openai.NotFoundError):  # there is no list
        client.get("/responses", cast_to=object)
    assert (cancelled.status, again.status) == ("cancelled", "cancelled")


def test_a_stream_of_a_response_resumes_where_it_was_left(client: openai.OpenAI) -> None:
    stream = client.responses.create(model="gpt-5", input="Hi", background=True, stream=True)
    whole = [(event.sequence_number, event.type) for event in stream]
    made = client.responses.create(model="gpt-5", input="Hi", background=True)
    rest = client.responses.retrieve(made.id, stream=True, starting_after=1)
    assert [event.sequence_number for event in rest] == [number for number, _ in whole[2:]]
    assert [name for _, name in whole] == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.completed",
    ]


def test_a_conversation_shows_what_its_responses_said(client: openai.OpenAI) -> None:
    conversation = client.conversations.create(metadata={"runner_key": "c1"})
    before = client.conversations.items.list(conversation.id)
    client.responses.create(model="gpt-5", input="Hello", conversation=conversation.id)
    after = client.conversations.items.list(conversation.id, order="asc")
    assert before.data == []
    assert [one.type for one in after.data] == ["message", "message"]


def test_a_plain_request_is_answered_when_it_is_done(
    client: openai.OpenAI, simulator: SimulatorProcess
) -> None:
    before = simulator.audit().count("creates")
    chat = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hi"}]
    )
    vectors = client.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
    with pytest.raises(openai.BadRequestError, match="Missing required parameter: 'messages'"):
        client.post("/chat/completions", cast_to=object, body={"model": "gpt-4o"})
    assert chat.choices[0].message.content == 'Simulated answer to: "Hi"'
    assert len(vectors.data) == 2
    assert simulator.audit().count("creates") == before + 2


def test_azures_paths_and_version_are_understood(simulator: SimulatorProcess) -> None:
    direct = openai.DefaultHttpxClient(trust_env=False)
    with openai.AzureOpenAI(
        azure_endpoint=simulator.root,
        api_key="sk-azure",
        api_version="2024-08-01-preview",
        max_retries=0,
        http_client=direct,
    ) as azure:
        run = azure.beta.threads.runs.create("thread_azure", assistant_id="asst_1")
        listed = azure.beta.threads.runs.list("thread_azure")
    assert [one.id for one in listed] == [run.id]
    with pytest.raises(urllib.error.HTTPError) as refused:
        simulator.get("/openai/threads/thread_azure/runs")
    with refused.value as answer:
        assert (answer.code, json.load(answer)["error"]["code"]) == (404, "404")
    path = "/api/projects/p/threads/thread_azure/runs?api-version=v1"
    assert simulator.get(path)["first_id"] == run.id


def _ask(
    simulator: SimulatorProcess, method: str, path: str, body: object = None
) -> tuple[int, dict[str, str], object]:
    text = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(simulator.root + path, text, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), json.loads(refused.read())


def _status(answer: object) -> object:
    assert isinstance(answer, dict)
    return answer["status"]


def test_a_langgraph_run_is_created_listed_and_joined(graphs: SimulatorProcess) -> None:
    runs = f"/threads/{UUIDS[1]}/runs"
    body = {"assistant_id": "agent", "input": {}, "metadata": {"runner_key": "g1"}}
    unknown = _ask(graphs, "POST", runs, body)
    thread = _ask(graphs, "POST", "/threads", {"thread_id": UUIDS[1]})
    twice = _ask(graphs, "POST", "/threads", {"thread_id": UUIDS[1]})
    code, headers, made = _ask(graphs, "POST", runs, body)
    assert isinstance(made, dict)
    joined = _ask(graphs, "GET", f"{runs}/{made['run_id']}/join")
    read = _ask(graphs, "GET", f"{runs}/{made['run_id']}")
    listed = _ask(graphs, "GET", f"{runs}?limit=5")[2]
    assert unknown[0] == 404
    assert (thread[0], _status(thread[2]), twice[0]) == (200, "idle", 409)
    assert (code, made["status"]) == (200, "pending")
    assert headers["content-location"] == f"{runs}/{made['run_id']}"
    assert made["metadata"]["runner_key"] == "g1"
    assert isinstance(joined[2], dict)
    assert "messages" in joined[2]
    assert _status(read[2]) == "success"
    assert isinstance(listed, list)
    assert [run["run_id"] for run in listed] == [made["run_id"]]


def test_each_strategy_meets_a_busy_langgraph_thread_in_its_way(graphs: SimulatorProcess) -> None:
    runs = f"/threads/{UUIDS[2]}/runs"
    slow = {"assistant_id": "agent", "if_not_exists": "create", "metadata": {"fate": "slow:60"}}
    first = _ask(graphs, "POST", runs, slow)[2]
    busy = _ask(graphs, "POST", runs, {**slow, "multitask_strategy": "reject"})
    waits = _ask(graphs, "POST", runs, {**slow, "multitask_strategy": "enqueue"})[2]
    assert isinstance(first, dict)
    assert isinstance(waits, dict)
    third = _ask(graphs, "POST", runs, {**slow, "multitask_strategy": "interrupt"})[2]
    cut = _ask(graphs, "GET", f"{runs}/{first['run_id']}")[2]
    _ask(graphs, "POST", runs, {**slow, "multitask_strategy": "rollback"})
    assert isinstance(third, dict)
    gone = _ask(graphs, "GET", f"{runs}/{third['run_id']}")
    assert (busy[0], str(busy[2])[:45]) == (409, "{'detail': 'Thread is already running a task.")
    assert waits["status"] == "pending"
    assert _status(cut) == "interrupted"
    assert gone[0] == 404


def test_langgraphs_refusals_have_its_shape(graphs: SimulatorProcess) -> None:
    runs = f"/threads/{UUIDS[3]}/runs"
    no_uuid = _ask(graphs, "POST", "/threads/abc/runs", {"assistant_id": "agent"})
    no_thread = _ask(graphs, "POST", runs, {"assistant_id": "agent", "input": {}})
    none_listed = _ask(graphs, "GET", runs)
    nobody = _ask(graphs, "POST", runs, {"assistant_id": "asst_missing"})
    assert (no_uuid[0], no_uuid[2]) == (422, {"detail": "Invalid thread_id: must be a UUID"})
    assert (no_thread[0], no_thread[2]) == (404, {"detail": "Thread or assistant not found."})
    assert none_listed[0] == 404
    assert (nobody[0], "Invalid assistant" in str(nobody[2])) == (422, True)


def test_a_langgraph_run_inherits_the_metadata_of_the_thread_that_another_run_made(
    graphs: SimulatorProcess,
) -> None:
    runs = f"/threads/{UUIDS[5]}/runs"
    first = {"assistant_id": "agent", "if_not_exists": "create", "metadata": {"runner_key": "g2"}}
    _ask(graphs, "POST", runs, first)
    second = _ask(graphs, "POST", runs, {"assistant_id": "agent", "misspelt": 1})[2]
    assert isinstance(second, dict)
    assert second["metadata"]["runner_key"] == "g2"


def test_a_langgraph_run_ends_in_a_state_that_tells_why(graphs: SimulatorProcess) -> None:
    thread = f"/threads/{UUIDS[6]}"
    _ask(graphs, "POST", "/threads", {"thread_id": UUIDS[6]})
    ends: list[object] = []
    for fate in ("failed", "requires_action"):
        body = {"assistant_id": "agent", "metadata": {"fate": fate}}
        joined = _ask(graphs, "POST", f"{thread}/runs/wait", body)
        where = joined[1]["content-location"]
        run = _ask(graphs, "GET", where)[2]
        asked = {"limit": 1, "metadata": {"run_id": where.rpartition("/")[2]}}
        states = _ask(graphs, "POST", f"{thread}/history", asked)[2]
        assert isinstance(states, list)
        ends.append((_status(run), states[0]["tasks"][0]["error"]))
    assert ends == [
        ("error", "SimulatedError('Sorry, something went wrong.')"),
        ("success", None),
    ]
    assert _status(_ask(graphs, "GET", thread)[2]) == "interrupted"


def test_a_langgraph_cancel_answers_without_a_body_and_404_once_it_has_ended(
    graphs: SimulatorProcess,
) -> None:
    thread = f"/threads/{UUIDS[7]}"
    _ask(graphs, "POST", "/threads", {"thread_id": UUIDS[7]})
    body = {"assistant_id": "agent", "metadata": {"fate": "slow:60"}}
    made = _ask(graphs, "POST", f"{thread}/runs", body)[2]
    assert isinstance(made, dict)
    cancel = f"{thread}/runs/{made['run_id']}/cancel"
    began = _ask(graphs, "POST", cancel)
    _ask(graphs, "GET", f"{thread}/runs/{made['run_id']}/join")
    again = _ask(graphs, "POST", cancel)
    assert (began[0], began[2], again[0]) == (202, None, 404)


@pytest.mark.anyio
async def test_the_langgraph_sdk_creates_waits_and_cancels(graphs: SimulatorProcess) -> None:
    sdk = pytest.importorskip("langgraph_sdk")
    async with sdk.get_client(url=graphs.root) as client:
        thread = await client.threads.create(thread_id=UUIDS[4])
        run = await client.runs.create(
            thread["thread_id"], "agent", input={"a": 1}, metadata={"fate": "slow:60"}
        )
        await client.runs.cancel(thread["thread_id"], run["run_id"], wait=True)
        cancelled = await client.runs.get(thread["thread_id"], run["run_id"])
        waited = await client.runs.wait(thread["thread_id"], "agent", input={"a": 1})
        listed = await client.runs.list(thread["thread_id"])
    assert (run["status"], cancelled["status"]) == ("pending", "interrupted")
    assert "messages" in waited
    assert len(listed) == 2
