"""Limits: the arithmetic by property, the headers on the wire."""

import json
import math
import urllib.error
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_process import SimulatorProcess

from runner.simulator.limits import Window, go_duration

GAPS = st.lists(st.floats(0, 3), max_size=60)


@given(gaps=GAPS, limit=st.integers(1, 8), span_s=st.floats(0.1, 5))
def test_no_window_ever_holds_more_than_the_limit_and_none_is_refused_with_room(
    gaps: list[float], limit: int, span_s: float
) -> None:
    window, now, admitted = Window(), 100.0, list[float]()
    for gap in gaps:
        now += gap
        window.forget(now, span_s)
        held = [then for then in admitted if then > now - span_s]
        wait_s = window.wait_s(now, span_s, limit)
        assert (wait_s == 0) == (len(held) < limit)
        if wait_s == 0:
            window.add(now)
            admitted.append(now)
    for start in admitted:
        assert sum(start <= then < start + span_s - 1e-9 for then in admitted) <= limit
    assert window.most <= limit


@given(amounts=st.lists(st.integers(1, 12), max_size=40), limit=st.integers(1, 20))
def test_a_refused_amount_is_admitted_after_the_wait_that_it_was_told(
    amounts: list[int], limit: int
) -> None:
    window, now, span_s = Window(), 0.0, 10.0
    for amount in amounts:
        now += 0.7
        window.forget(now, span_s)
        wait_s = window.wait_s(now, span_s, limit, amount)
        assert (wait_s == math.inf) == (amount > limit)
        if wait_s == math.inf:
            continue
        now += wait_s + 1e-9
        window.forget(now, span_s)
        assert window.wait_s(now, span_s, limit, amount) == 0
        window.add(now, amount)
        assert window.used <= limit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.02, "20ms"),
        (0, "0ms"),
        (1.5, "1.5s"),
        (360, "6m0s"),
        (85_056.648, "23h37m36.648s"),
        (1_796_004_208.91 + 1000 - 1_796_004_208.91 + 2e-7, "16m40s"),
        (0.0101, "11ms"),
    ],
)
def test_durations_are_spelt_as_the_headers_spell_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def _create(simulator: SimulatorProcess, **body: object) -> tuple[int, dict[str, str], str]:
    text = json.dumps({"assistant_id": "asst_1", **body}).encode()
    request = urllib.request.Request(f"{simulator.url}/threads/t/runs", text)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), refused.read().decode()


def test_creates_beyond_the_limit_are_refused_with_what_the_headers_promise() -> None:
    flags = ("--limit", 3, "--window", 1000, "--no-lock", "--duration", 1000)
    with SimulatorProcess(*flags) as simulator:
        seen = [_create(simulator) for _ in range(5)]
        audit = simulator.audit()
        simulator.set(limit_headers="retry-after")
        short = _create(simulator)[1]
        simulator.set(limit_headers="none")
        bare = _create(simulator)[1]
        simulator.set(limit=0, max_active=3)
        crowded = _create(simulator)
    assert [status for status, _, _ in seen] == [200, 200, 200, 429, 429]
    assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in seen] == [
        "2",
        "1",
        "0",
        "0",
        "0",
    ]
    assert seen[0][1]["x-ratelimit-limit-requests"] == "3"
    assert seen[0][1]["x-ratelimit-reset-requests"] == "16m40s"
    assert 900 < int(seen[3][1]["retry-after"]) <= 1000
    assert json.loads(seen[3][2])["error"]["code"] == "rate_limit_exceeded"
    assert (audit.count("creates"), audit.number("window_max")) == (3, 3)
    assert audit.count("rate_limit_exceeded", "refusals") == 2
    assert "retry-after" in short
    assert not any(name.startswith("x-ratelimit") for name in short)
    assert "retry-after" not in bare
    assert (crowded[0], "Too many active runs" in crowded[2]) == (429, True)


def test_tokens_are_charged_by_the_bounds_that_a_create_tells() -> None:
    flags = ("--token-limit", 1000, "--window", 1000, "--no-lock")
    with SimulatorProcess(*flags) as simulator:
        first = _create(simulator, max_prompt_tokens=500, max_completion_tokens=300)
        second = _create(simulator, max_prompt_tokens=500)
        too_large = _create(simulator, max_prompt_tokens=1001)
        small = _create(simulator)
    assert [one[0] for one in (first, second, too_large, small)] == [200, 429, 429, 200]
    assert first[1]["x-ratelimit-remaining-tokens"] == "200"
    assert json.loads(second[2])["error"]["type"] == "tokens"
    assert "Request too large" in too_large[2]
    assert "retry-after" not in too_large[1]


def test_from_the_nth_create_on_the_money_is_gone() -> None:
    with SimulatorProcess("--quota-after", 3, "--no-lock") as simulator:
        seen = [_create(simulator)[0] for _ in range(5)]
        simulator.set(quota_after=0)
        healed = _create(simulator)[0]
    assert seen == [200, 200, 429, 429, 429]
    assert healed == 200
