"""The newest openai SDK is the judge of whether the simulator speaks the API."""

from collections.abc import Iterator

import openai
import pytest
from openai.types.beta.threads import Run
from simulator_process import SimulatorProcess

pytestmark = pytest.mark.filterwarnings("ignore:.*Assistants API is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(
        "--duration", "0.05", "--cancel-lag", "0.05", "--poll-after-ms", 20
    ) as one:
        yield one


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Iterator[openai.OpenAI]:
    direct = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=simulator.url, api_key="sk-test", max_retries=0, http_client=direct
    ) as one:
        yield one


def _followed(client: openai.OpenAI, thread_id: str, **metadata: str) -> Run:
    run = client.beta.threads.runs.create(
        thread_id, assistant_id="asst_1", metadata={"case": thread_id, **metadata}
    )
    return client.beta.threads.runs.poll(run.id, thread_id=thread_id)


def test_a_thread_is_created_read_modified_and_deleted(client: openai.OpenAI) -> None:
    made = client.beta.threads.create(
        messages=[{"role": "user", "content": "hello"}], metadata={"a": "b"}
    )
    changed = client.beta.threads.update(made.id, metadata={"a": "c"})
    read = client.beta.threads.retrieve(made.id)
    gone = client.beta.threads.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="No thread found with id"):
        client.beta.threads.retrieve(made.id)
    assert (made.metadata, changed.metadata, read.metadata) == (
        {"a": "b"},
        {"a": "c"},
        {"a": "c"},
    )
    assert gone.deleted


def test_a_run_is_created_and_polled_to_its_end(client: openai.OpenAI) -> None:
    made = client.beta.threads.runs.create(
        "thread_poll",
        assistant_id="asst_1",
        model="gpt-4.1",
        temperature=0.5,
        additional_messages=[
            {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]},
        ],
        metadata={"runner_key": "k-1"},
    )
    ended = client.beta.threads.runs.poll(made.id, thread_id="thread_poll")
    messages = client.beta.threads.messages.list("thread_poll", run_id=made.id, order="asc")
    steps = client.beta.threads.runs.steps.list(made.id, thread_id="thread_poll")
    step = client.beta.threads.runs.steps.retrieve(
        steps.data[0].id, thread_id="thread_poll", run_id=made.id
    )
    assert (made.status, ended.status) == ("queued", "completed")
    assert made.expires_at == made.created_at + 600
    assert (ended.expires_at, ended.model, ended.temperature) == (None, "gpt-4.1", 0.5)
    assert ended.metadata == {"runner_key": "k-1"}
    assert ended.usage is not None
    assert ended.usage.total_tokens == ended.usage.prompt_tokens + ended.usage.completion_tokens
    assert [part.type for part in messages.data[0].content] == ["text"]
    assert "What is 2 + 2?" in messages.data[0].to_json()
    assert step.step_details.type == "message_creation"


def test_the_statuses_of_all_ends_reach_the_client(client: openai.OpenAI) -> None:
    ends = {
        "completed": "completed",
        "failed": "failed",
        "rate_limit_exceeded": "failed",
        "incomplete": "incomplete",
        "content_filter": "incomplete",
        "cancelled": "cancelled",
        "expired": "expired",
    }
    runs = {fate: _followed(client, f"thread_{fate}", fate=fate) for fate in ends}
    assert {fate: run.status for fate, run in runs.items()} == ends
    error = runs["rate_limit_exceeded"].last_error
    assert error is not None
    assert (error.code, "Try again in 2 seconds" in error.message) == ("rate_limit_exceeded", True)
    details = runs["content_filter"].incomplete_details
    assert details is not None
    assert str(details.reason) == "content_filter"  # the SDK's types do not know it


def test_an_end_with_a_number_befalls_only_the_first_runs_of_a_case(client: openai.OpenAI) -> None:
    first = _followed(client, "thread_once", fate="failed:1")
    second = _followed(client, "thread_once", fate="failed:1")
    assert (first.status, second.status) == ("failed", "completed")


def test_lists_are_paged_both_ways(client: openai.OpenAI, simulator: SimulatorProcess) -> None:
    simulator.set(no_lock=True)
    made = [
        client.beta.threads.runs.create("thread_list", assistant_id="asst_1").id for _ in range(5)
    ]
    simulator.set(no_lock=False)
    runs = client.beta.threads.runs
    newest = runs.list("thread_list", limit=2)
    second = runs.list("thread_list", limit=2, after=made[3])
    back = runs.list("thread_list", limit=2, before=made[1])
    assert [run.id for run in newest.data] == [made[4], made[3]]
    assert newest.has_more
    assert [run.id for run in second.data] == [made[2], made[1]]
    assert [run.id for run in back.data] == [made[3], made[2]]
    assert [run.id for run in runs.list("thread_list", limit=2)] == made[::-1]
    assert [run.id for run in runs.list("thread_list", order="asc")] == made


def test_a_cancelled_run_goes_through_cancelling(client: openai.OpenAI) -> None:
    run = client.beta.threads.runs.create(
        "thread_cancel", assistant_id="asst_1", metadata={"fate": "slow:60"}
    )
    asked = client.beta.threads.runs.cancel(run.id, thread_id="thread_cancel")
    while (
        ended := client.beta.threads.runs.retrieve(run.id, thread_id="thread_cancel")
    ).status == ("cancelling"):
        pass
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        client.beta.threads.runs.cancel(run.id, thread_id="thread_cancel")
    assert (asked.status, ended.status) == ("cancelling", "cancelled")


def test_two_rounds_of_tool_outputs_are_asked_for_and_taken(client: openai.OpenAI) -> None:
    runs = client.beta.threads.runs
    run = runs.create(
        "thread_tools",
        assistant_id="asst_1",
        metadata={"fate": "requires_action:2:2"},
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "parameters": {"type": "object", "properties": {"days": {"type": "integer"}}},
                },
            }
        ],
    )
    asked: list[str] = []
    for _ in range(2):
        run = runs.poll(run.id, thread_id="thread_tools")
        assert run.required_action is not None
        calls = run.required_action.submit_tool_outputs.tool_calls
        asked += [f"{call.function.name} {call.function.arguments}" for call in calls]
        with pytest.raises(openai.BadRequestError, match="Expected tool outputs for call_ids"):
            runs.submit_tool_outputs(
                run.id,
                thread_id="thread_tools",
                tool_outputs=[{"tool_call_id": calls[0].id, "output": "partial"}],
            )
        run = runs.submit_tool_outputs(
            run.id,
            thread_id="thread_tools",
            tool_outputs=[{"tool_call_id": call.id, "output": "sun"} for call in calls],
        )
    run = runs.poll(run.id, thread_id="thread_tools")
    steps = runs.steps.list(run.id, thread_id="thread_tools", order="asc")
    with pytest.raises(openai.BadRequestError, match='Runs in status "completed" do not accept'):
        runs.submit_tool_outputs(run.id, thread_id="thread_tools", tool_outputs=[])
    assert run.status == "completed"
    assert asked == ['weather {"days":1}'] * 4
    assert [step.type for step in steps] == ["tool_calls", "tool_calls", "message_creation"]


def test_a_stream_tells_the_whole_story(client: openai.OpenAI) -> None:
    stream = client.beta.threads.runs.create(
        "thread_stream", assistant_id="asst_1", instructions="Say hello to us all", stream=True
    )
    events = list(stream)
    names = [event.event for event in events]
    pieces = [
        part.text.value or ""
        for event in events
        if event.event == "thread.message.delta"
        for part in event.data.delta.content or ()
        if part.type == "text" and part.text is not None
    ]
    assert "".join(pieces) == "Simulated answer to: Say hello to us all"
    assert [name for name in names if name != "thread.message.delta"] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]


def test_a_stream_stops_at_a_question_and_goes_on_with_the_outputs(client: openai.OpenAI) -> None:
    runs = client.beta.threads.runs
    events = list(
        runs.create(
            "thread_stream_tools",
            assistant_id="asst_1",
            metadata={"fate": "requires_action"},
            stream=True,
        )
    )
    last = events[-1]
    assert last.event == "thread.run.requires_action"
    assert last.data.required_action is not None
    calls = last.data.required_action.submit_tool_outputs.tool_calls
    resumed = runs.submit_tool_outputs(
        last.data.id,
        thread_id="thread_stream_tools",
        tool_outputs=[{"tool_call_id": call.id, "output": "42"} for call in calls],
        stream=True,
    )
    names = [event.event for event in resumed]
    assert (names[0], names[-1]) == ("thread.run.step.completed", "thread.run.completed")


def test_refusals_arrive_as_the_sdks_own_exceptions(
    client: openai.OpenAI, simulator: SimulatorProcess
) -> None:
    runs = client.beta.threads.runs
    active = runs.create("thread_no", assistant_id="asst_1", metadata={"fate": "slow:60"})
    with pytest.raises(openai.BadRequestError) as locked:
        runs.create("thread_no", assistant_id="asst_1")
    with pytest.raises(openai.BadRequestError, match="Can't add messages to thread_no while"):
        client.beta.threads.messages.create("thread_no", role="user", content="x")
    with pytest.raises(openai.BadRequestError) as unknown:
        runs.create("thread_b", assistant_id="asst_1", extra_body={"temprature": 1})
    with pytest.raises(openai.BadRequestError, match="temperature"):
        runs.create("thread_b", assistant_id="asst_1", temperature=2.5)
    with pytest.raises(openai.BadRequestError, match="metadata"):
        runs.create("thread_b", assistant_id="asst_1", metadata={str(n): "" for n in range(17)})
    with pytest.raises(openai.NotFoundError, match="No assistant found with id 'asst_missing_7'"):
        runs.create("thread_b", assistant_id="asst_missing_7")
    with pytest.raises(openai.NotFoundError, match="No run found with id 'run_nope'"):
        runs.retrieve("run_nope", thread_id="thread_b")
    with pytest.raises(openai.BadRequestError, match="This request was refused"):
        runs.create("thread_b", assistant_id="asst_1", metadata={"fate": "refused"})
    simulator.set(key="sk-other")
    with pytest.raises(openai.AuthenticationError) as stranger:
        runs.create("thread_b", assistant_id="asst_1")
    simulator.set(key="", quota_after=1)
    with pytest.raises(openai.RateLimitError) as poor:
        runs.create("thread_b", assistant_id="asst_1")
    simulator.set(quota_after=0)
    assert f"Thread thread_no already has an active run {active.id}." in locked.value.message
    assert (locked.value.code, locked.value.type) == (None, "invalid_request_error")
    assert (unknown.value.code, unknown.value.param) == ("unknown_parameter", "temprature")
    assert stranger.value.code == "invalid_api_key"
    assert poor.value.code == "insufficient_quota"


def test_thread_and_run_are_made_in_one_call(client: openai.OpenAI) -> None:
    run = client.beta.threads.create_and_run(
        assistant_id="asst_1", thread={"messages": [{"role": "user", "content": "both"}]}
    )
    ended = client.beta.threads.runs.poll(run.id, thread_id=run.thread_id)
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'reasoning_effort'"):
        client.beta.threads.create_and_run(
            assistant_id="asst_1", extra_body={"reasoning_effort": "low"}
        )
    assert ended.status == "completed"
