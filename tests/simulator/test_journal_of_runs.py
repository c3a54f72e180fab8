"""A simulator that was killed knows every run again."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from simulator_process import SimulatorProcess

FLAGS = ("--duration", "1000", "--expires-after", "0")


def _create(simulator: SimulatorProcess, thread: str, **metadata: str) -> str:
    body = {"assistant_id": "asst_1", "metadata": metadata}
    return str(simulator.post(f"/v1/threads/{thread}/runs", body)["id"])


def test_a_killed_simulator_knows_every_run_again(tmp_path: Path) -> None:
    state = tmp_path / "runs.jsonl"
    with SimulatorProcess(*FLAGS, state=state) as first:
        made = [_create(first, f"t{n}", runner_key=f"k{n}", case="c") for n in range(20)]
        asks = _create(first, "tools", fate="slow:0")
        first.post(f"/v1/threads/t0/runs/{made[0]}/cancel", {})
        first.post(f"/v1/threads/t1/runs/{made[1]}", {"metadata": {"changed": "yes"}})
        first.post("/v1/threads/talk/messages", {"role": "user", "content": "keep me"})
        before = first.runs()
        first.kill()
    with SimulatorProcess(*FLAGS, state=state) as second:
        after = second.runs()
        again = _create(second, "t99", runner_key="k5")
        audit = second.audit()
        messages = second.get("/v1/threads/talk/messages")["data"]
        with pytest.raises(urllib.error.HTTPError, match="400"):  # the thread is locked still
            _create(second, "t2")
    assert list(after) == [*made, asks]
    assert {**after, made[0]: None, asks: None} == {**before, made[0]: None, asks: None}
    assert after[made[0]]["status"] in {"cancelling", "cancelled"}
    assert after[asks]["status"] == "completed"
    assert after[made[1]]["metadata"] == {"changed": "yes"}
    assert again not in after
    assert audit.repeated("tag") == {"k5": [made[5], again]}
    assert audit.repeated("case") == {"c": made}
    assert isinstance(messages, list)
    assert len(messages) == 1


def test_a_round_of_outputs_is_remembered(tmp_path: Path) -> None:
    state = tmp_path / "runs.jsonl"
    with SimulatorProcess("--duration", "0", state=state) as first:
        run_id = _create(first, "t", fate="requires_action")
        first.kill()
    path = f"/v1/threads/t/runs/{run_id}"
    with SimulatorProcess("--duration", "0", state=state) as second:
        assert second.get(path)["status"] == "requires_action"
        outputs = [{"tool_call_id": f"call_{run_id[4:]}0100", "output": "42"}]
        second.post(f"{path}/submit_tool_outputs", {"tool_outputs": outputs})
        second.kill()
    with SimulatorProcess("--duration", "0", state=state) as third:
        assert third.get(path)["status"] == "completed"
        steps = third.get(f"{path}/steps?order=asc")["data"]
    assert isinstance(steps, list)
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    assert steps[0]["step_details"]["tool_calls"][0]["function"]["output"] == "42"


def test_a_torn_last_line_is_cut_off_and_the_rest_stands(tmp_path: Path) -> None:
    state = tmp_path / "runs.jsonl"
    with SimulatorProcess(*FLAGS, state=state) as first:
        made = [_create(first, f"t{n}") for n in range(3)]
        first.kill()
    whole = state.read_bytes()
    state.write_bytes(whole[:-7])
    with SimulatorProcess(*FLAGS, state=state) as second:
        kept = list(second.runs())
        more = _create(second, "t9")
        second.kill()
    with SimulatorProcess(*FLAGS, state=state) as third:
        assert list(third.runs()) == [*kept, more]
    assert kept == made[:2]


def test_a_pretty_printed_body_stays_one_line(tmp_path: Path) -> None:
    state = tmp_path / "runs.jsonl"
    with SimulatorProcess(*FLAGS, state=state) as first:
        body = b'{\r\n  "assistant_id": "asst_1",\n  "temperature": 1.10\n}'
        answer = _raw_post(first, "/v1/threads/t/runs", body)
        first.kill()
    with SimulatorProcess(*FLAGS, state=state) as second:
        runs = list(second.runs().values())
    assert b'"temperature":1.10,' in answer  # byte for byte as it was sent
    assert [run["temperature"] for run in runs] == [1.1]


def _raw_post(simulator: SimulatorProcess, path: str, body: bytes) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(simulator.root + path, body), timeout=20) as answer:
        return bytes(answer.read())


def test_runs_at_rest_are_dropped_beyond_the_number_to_keep_and_active_ones_never(
    tmp_path: Path,
) -> None:
    state = tmp_path / "runs.jsonl"
    with SimulatorProcess("--duration", "0", "--keep", 3, state=state) as first:
        active = [_create(first, f"active{n}", fate="slow:1000") for n in range(2)]
        rested = [_create(first, f"t{n}", runner_key=f"k{n}") for n in range(6)]
        known, audit = list(first.runs()), first.audit()
        first.kill()
    with SimulatorProcess("--duration", "0", "--keep", 3, state=state) as second:
        again = list(second.runs())
    lines = state.read_bytes().splitlines()
    assert set(active) <= set(known)
    # The last was not at rest when it was made, so it is one more than is kept.
    assert known == [*active, *rested[2:]]
    assert (audit.number("runs"), audit.number("dropped")) == (8, 2)
    assert again == [*active, *rested[3:]]
    assert sum(b'{"run":' in line for line in lines) == 5


def test_a_damaged_journal_is_told_and_nothing_is_served(tmp_path: Path) -> None:
    state = tmp_path / "runs.jsonl"
    state.write_text('{"run": 5}\n{"run": null}\n')
    with pytest.raises(RuntimeError, match="the simulator ended with 2"):
        SimulatorProcess(state=state)
    assert state.read_text() == '{"run": 5}\n{"run": null}\n'
