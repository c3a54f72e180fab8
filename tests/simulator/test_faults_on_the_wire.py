"""Every fault of the plan, as the bytes and the end of the connection that a client sees."""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from simulator_process import SimulatorProcess

from runner.simulator.faults import FAULTS

LIMIT_S = 20.0


@dataclass(frozen=True)
class Seen:
    """What one create met: the connection's end, the answer so far, and the runs made by it."""

    end: str  # answered, closed, reset
    status: int
    headers: dict[str, str]
    body: bytes
    runs: int


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("--duration", "0", "--stall", "0.05", "--late", "0.05") as one:
        yield one


def _create(simulator: SimulatorProcess, metadata: dict[str, str], thread: str = "t") -> Seen:
    """Send one create by hand and read until the connection ends."""
    body = json.dumps({"assistant_id": "asst_1", "metadata": metadata}).encode()
    head = (
        f"POST /v1/threads/{thread}/runs HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    before = simulator.audit().number("runs")
    received, end = b"", "closed"
    with socket.create_connection(("127.0.0.1", simulator.port), LIMIT_S) as connection:
        connection.sendall(head.encode() + body)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            end = "reset"
    runs = int(simulator.audit().number("runs") - before)
    if not received:
        return Seen(end, 0, {}, b"", runs)
    top, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    whole = len(rest) == int(headers.get("content-length", -1))
    return Seen("answered" if whole else end, int(first.split()[1]), headers, rest, runs)


def _code(seen: Seen) -> object:
    return json.loads(seen.body)["error"]["code"]


def _faulty(simulator: SimulatorProcess, fault: str, tag: str = "tag") -> Seen:
    return _create(simulator, {"runner_key": f"{tag} of {fault}", "fault": fault}, f"t_{fault}")


CUT = {  # name: (end of the connection, runs made when it ended)
    "reset_before": ("reset", 0),
    "close_before": ("closed", 0),
    "stall_before": ("closed", 0),
    "drop_after": ("closed", 1),
    "reset_after": ("reset", 1),
    "stall_after": ("closed", 1),
}

ANSWERED = {  # name: (status, runs made)
    "error_500": (500, 0),
    "error_500_after": (500, 1),
    "error_503": (503, 0),
    "html_502": (502, 0),
    "gateway_504_after": (504, 1),
    "no_id_after": (200, 1),
    "garbage_after": (200, 1),
    "rate_429": (429, 0),
    "rate_429_seconds": (429, 0),
    "rate_429_date": (429, 0),
    "rate_429_bare": (429, 0),
    "quota_429": (429, 0),
    "credit_400": (400, 0),
    "usage_limit_400": (400, 0),
    "unauthorized_401": (401, 0),
    "forbidden_403": (403, 0),
    "gone_404": (404, 0),
    "timeout_408": (408, 0),
    "conflict_409": (409, 0),
    "moved_307": (307, 0),
}

OTHERS = {"late", "truncate", "repeat", "close_idle"}


def test_every_fault_of_the_plan_is_looked_at_here() -> None:
    assert set(FAULTS) == set(CUT) | set(ANSWERED) | OTHERS


@pytest.mark.parametrize("name", CUT)
def test_a_cut_connection_brings_no_byte(simulator: SimulatorProcess, name: str) -> None:
    seen = _faulty(simulator, name)
    assert (seen.end, seen.runs) == CUT[name]
    assert seen.body == b""
    assert seen.status == 0


@pytest.mark.parametrize("name", ANSWERED)
def test_a_false_answer_is_whole(simulator: SimulatorProcess, name: str) -> None:
    seen = _faulty(simulator, name)
    assert seen.end == "answered"
    assert (seen.status, seen.runs) == ANSWERED[name]


def test_a_truncated_answer_ends_within_the_run_object(simulator: SimulatorProcess) -> None:
    seen = _faulty(simulator, "truncate")
    assert (seen.end, seen.status, seen.runs) == ("closed", 200, 1)
    assert 0 < len(seen.body) < int(seen.headers["content-length"])
    assert seen.body.startswith(b'{"id":"run_')


def test_a_late_create_is_carried_out_after_its_connection_was_lost(
    simulator: SimulatorProcess,
) -> None:
    seen = _faulty(simulator, "late")
    while not simulator.get("/v1/threads/t_late/runs")["data"]:
        pass
    assert (seen.end, seen.status) == ("reset", 0)


def test_a_repeated_create_makes_two_runs_and_the_audit_tells_them(
    simulator: SimulatorProcess,
) -> None:
    simulator.set(no_lock=True)
    seen = _faulty(simulator, "repeat")
    while len(doubles := simulator.audit().repeated("tag").get("tag of repeat", [])) < 2:
        pass
    simulator.set(no_lock=False)
    assert seen.end == "answered"
    assert json.loads(seen.body)["id"] == doubles[0]


def test_an_idle_connection_is_closed_without_notice(simulator: SimulatorProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=LIMIT_S)
    body = {"assistant_id": "asst_1", "metadata": {"runner_key": "idle", "fault": "close_idle"}}
    connection.request("POST", "/v1/threads/t_idle/runs", json.dumps(body))
    answer = connection.getresponse()
    answer.read()
    assert (answer.status, answer.getheader("connection")) == (200, None)
    assert connection.sock.recv(1) == b""
    connection.close()
    simulator.set(close_idle=0.05)
    connection.request("GET", "/v1/threads/t_idle/runs")
    assert connection.getresponse().read() != b""
    assert connection.sock.recv(1) == b""
    connection.close()
    simulator.set(close_idle=0)


def test_refusals_for_pace_carry_their_header(simulator: SimulatorProcess) -> None:
    simulator.set(retry_after="9999999999")
    names = [name for name in FAULTS if name.startswith("rate_")]
    told = {name: _faulty(simulator, name, "header").headers for name in names}
    simulator.set(retry_after="1")
    assert told["rate_429"]["retry-after-ms"] == "150"
    assert told["rate_429_seconds"]["retry-after"] == "9999999999"
    assert told["rate_429_date"]["retry-after"].endswith("GMT")
    assert not {"retry-after", "retry-after-ms"} & set(told["rate_429_bare"])


def test_a_plan_befalls_the_creates_of_its_tag_in_turn(simulator: SimulatorProcess) -> None:
    plan = {"runner_key": "planned", "fault": "rate_429:2,drop_after"}
    seen = [_create(simulator, plan, "t_plan") for _ in range(3)]
    simulator.set(no_lock=True)
    last = _create(simulator, plan, "t_plan")
    simulator.set(no_lock=False)
    assert [one.status for one in seen] == [429, 429, 0]
    assert [one.runs for one in seen] == [0, 0, 1]
    assert (last.status, simulator.audit().count("rate_429", "faults") > 1) == (200, True)


def test_shares_of_faults_can_be_set_and_healed_at_run_time(simulator: SimulatorProcess) -> None:
    simulator.set(faults={"error_500": 1})
    broken = _create(simulator, {}, "t_set")
    read = simulator.get("/v1/threads/t_set/runs")
    simulator.set(faults={})
    healed = _create(simulator, {}, "t_set")
    assert (broken.status, read["data"], healed.status) == (500, [], 200)


def test_an_unknown_fault_or_setting_is_refused_by_name(simulator: SimulatorProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=LIMIT_S)
    told = []
    for change in ({"faults": {"nonsense": 1}}, {"nonsense": 1}, {"duration": "soon"}):
        connection.request("POST", "/_set", json.dumps(change))
        answer = connection.getresponse()
        told.append((answer.status, json.loads(answer.read())["error"]["message"]))
    connection.close()
    assert [status for status, _ in told] == [400, 400, 400]
    assert "'nonsense' is unknown; known: " in told[0][1]
    assert "nonsense" in told[1][1]
    assert "'soon' is no duration" in told[2][1]


def test_a_dropped_stream_ends_before_its_last_event(simulator: SimulatorProcess) -> None:
    simulator.set(stream_drop=1)
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=LIMIT_S)
    body = json.dumps({"assistant_id": "asst_1", "stream": True})
    connection.request("POST", "/v1/threads/t_stream/runs", body)
    with pytest.raises(http.client.IncompleteRead) as cut:
        connection.getresponse().read()
    connection.close()
    simulator.set(stream_drop=0)
    assert cut.value.partial.startswith(b"event: thread.run.created\ndata: {")
    assert b"event: done" not in cut.value.partial


@pytest.mark.parametrize("flag", ["no_list", "no_tags", "read_lag", "list_lag"])
def test_a_weak_server_shows_less(simulator: SimulatorProcess, flag: str) -> None:
    thread = f"t_{flag}"
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=LIMIT_S)
    simulator.set(**{flag: True if flag.startswith("no") else 1000})
    seen = json.loads(_create(simulator, {"runner_key": "weak"}, thread).body)
    told: list[tuple[int, dict[str, object]]] = []
    for path in (f"/v1/threads/{thread}/runs", f"/v1/threads/{thread}/runs/{seen['id']}"):
        connection.request("GET", path)
        answer = connection.getresponse()
        told.append((answer.status, json.loads(answer.read())))
    connection.close()
    simulator.set(no_list=False, no_tags=False, read_lag=0, list_lag=0)
    (listed, runs), (read, run) = told
    assert (listed == 404) == (flag == "no_list")
    assert (read == 404) == (flag == "read_lag")
    assert (seen["metadata"] == {}) == (flag == "no_tags")
    assert (runs.get("data") == []) == (flag == "list_lag")
    assert (run.get("metadata") == {"runner_key": "weak"}) == (flag in {"no_list", "list_lag"})


def test_a_key_is_honoured_only_where_it_should_be(simulator: SimulatorProcess) -> None:
    simulator.set(no_lock=True)
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=LIMIT_S)

    def ask(assistant: str) -> tuple[int, dict[str, object]]:
        body = json.dumps({"assistant_id": assistant})
        connection.request("POST", "/v1/threads/t_k/runs", body, {"idempotency-key": "k"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    first, second = ask("asst_1"), ask("asst_1")
    simulator.set(keys=True)
    replayed, conflict = ask("asst_1"), ask("asst_2")
    connection.close()
    simulator.set(keys=False, no_lock=False)
    assert second[1]["id"] != first[1]["id"]
    assert replayed[1]["id"] == first[1]["id"]
    assert (conflict[0], conflict[1]["error"]) == (
        409,
        {
            "message": "This idempotency key was used with another request.",
            "type": "invalid_request_error",
            "param": None,
            "code": "idempotency_key_conflict",
        },
    )
    assert simulator.audit().repeated("key") == {"k": [first[1]["id"], second[1]["id"]]}
