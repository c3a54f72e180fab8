"""What an answer that is no success means, row by row of the reference."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.call import Reply, Silence
from runner.core.faults import Cause, Fault, classify
from runner.core.model import ApiError, Reason
from runner.core.retry import (
    Again,
    Blocked,
    GiveUp,
    Halt,
    Look,
    RetryPolicy,
    Shut,
    backoff_s,
    judge,
)

POLICY = RetryPolicy()


def verdict(fault: Fault, refusals: int = 0, *, fresh: bool = False) -> object:
    return judge(fault, refusals, POLICY, Random(1), fresh=fresh)


@pytest.mark.parametrize("why", ["refused", "dns", "tls", "proxy", "connect_timeout", "guard"])
def test_a_connection_that_was_never_made_is_a_proof(why: str) -> None:
    fault = classify(Silence(sent=False, why=why))
    assert (fault.cause, fault.made) == (Cause.UNSENT, False)
    assert isinstance(verdict(fault), Again)


@pytest.mark.parametrize("why", ["timeout", "reset", "closed", "truncated", "garbage", "unknown"])
def test_a_silence_after_the_send_is_doubt(why: str) -> None:
    fault = classify(Silence(sent=True, why=why))
    assert fault.made
    assert verdict(fault) == Look(slow=why == "timeout")


@pytest.mark.parametrize("status", [408, 409, 500, 501, 502, 503, 504, 520, 524, 529, 599])
def test_statuses_that_prove_nothing_are_looked_up(status: int) -> None:
    fault = classify(Reply(status))
    assert fault.made
    assert isinstance(verdict(fault), Look)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_plain_refusal_is_given_up(status: int) -> None:
    fault = classify(Reply(status), ApiError("", "invalid_request_error", "Unknown parameter"))
    assert not fault.made
    assert verdict(fault) == GiveUp(Reason.REJECTED)


def test_a_429_waits_and_is_no_attempt() -> None:
    fault = classify(Reply(429), ApiError("rate_limit_exceeded"), wait_s=3.0)
    assert verdict(fault) == Shut(3.0)


def test_a_429_about_concurrency_says_so() -> None:
    fault = classify(Reply(429), ApiError(message="Too many concurrent runs"))
    assert verdict(fault) == Shut(None, concurrency=True)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, ApiError("insufficient_quota", "insufficient_quota")),
        (429, ApiError("project_spend_limit_exceeded")),
        (400, ApiError("", "invalid_request_error", "Your credit balance is too low")),
        (403, ApiError("billing_not_active")),
        (
            400,
            ApiError(
                message="You have reached your specified API usage limits. "
                "You will regain access on 2026-12-01"
            ),
        ),
    ],
)
def test_the_end_of_the_money_stops_everything(status: int, error: ApiError) -> None:
    fault = classify(Reply(status), error)
    assert (fault.cause, fault.made) == (Cause.MONEY, False)
    assert verdict(fault) == Halt()


@pytest.mark.parametrize(
    ("status", "cause"),
    [(401, Cause.KEY), (403, Cause.RIGHT), (405, Cause.PLACE), (302, Cause.PLACE)],
)
def test_what_is_wrong_for_every_job_stops_everything(status: int, cause: Cause) -> None:
    fault = classify(Reply(status))
    assert fault.cause is cause
    assert verdict(fault) == Halt()


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_refusal_that_names_an_active_run_is_no_proof(status: int) -> None:
    fault = classify(Reply(status), active_run="run_b")
    assert fault.made
    assert verdict(fault) == Blocked("run_b")


def test_a_2xx_that_cannot_be_read_is_doubt() -> None:
    fault = classify(Reply(200), unreadable="no id")
    assert (fault.cause, fault.made) == (Cause.UNREADABLE, True)
    assert verdict(fault) == Look(slow=False)


def test_a_404_on_a_thread_just_made_is_given_time() -> None:
    fault = classify(Reply(404))
    assert isinstance(verdict(fault, fresh=True), Again)
    assert verdict(fault, refusals=7, fresh=True) == GiveUp(Reason.REJECTED)


@given(st.integers(0, 700), st.booleans())
def test_only_listed_answers_are_proofs(status: int, names_run: bool) -> None:
    fault = classify(Reply(status), active_run="run_x" if names_run else None)
    proof = not names_run and (300 <= status < 500) and status not in (408, 409)
    if 200 <= status < 300:
        assert fault.made or names_run
    elif status >= 300:
        assert fault.made != proof


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_waits_are_bounded_and_jitter_stays_inside(refusals: int, seed: int) -> None:
    wait = backoff_s(refusals, POLICY, Random(seed))
    assert 0.5 * POLICY.first_s <= wait <= POLICY.longest_s


def test_the_text_for_people_is_one_short_line() -> None:
    fault = classify(Reply(400), ApiError("c", "", "a\nb " * 200))
    assert "\n" not in fault.text
    assert len(fault.text) <= 200
