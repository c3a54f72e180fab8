"""What follows a create that did not answer with a run: the verdict, pure.

The waits come from tenacity's strategies, used as functions of the attempt's number: no sleeping,
no clock. They are persisted as a not-before time, so that they survive a restart.
"""

from random import Random
from typing import TypeAlias

from msgspec import Struct
from tenacity import RetryCallState, wait_exponential

from runner.core.faults import Cause, Fault
from runner.core.model import Reason


class RetryPolicy(Struct, frozen=True):
    """`max_attempts`: tries to create that count, 1 = never again. Waits in seconds."""

    max_attempts: int = 8
    first_s: float = 1.0
    longest_s: float = 60.0


class Again(Struct, frozen=True):
    """Send again after `delay_s`; `counted` towards --max-attempts."""

    delay_s: float
    counted: bool


class GiveUp(Struct, frozen=True):
    """End the job as failed, with this reason."""

    reason: Reason


class Look(Struct, frozen=True):
    """The create's outcome is unknown: look before anything else."""

    slow: bool


class Blocked(Struct, frozen=True):
    """A run is active on the thread: look at it; `run_id` "" where it was not named."""

    run_id: str


class Shut(Struct, frozen=True):
    """A limit: close the gate for everybody, no attempt is charged. `wait_s` None: not told.

    `concurrency` is about runs at once, `tokens` about the tokens budget: neither teaches a rate.
    """

    wait_s: float | None
    concurrency: bool = False
    tokens: bool = False


class Halt(Struct, frozen=True):
    """Everybody's trouble: nothing more is sent, the job goes back to where it was."""


Verdict: TypeAlias = Again | GiveUp | Look | Blocked | Shut | Halt


def backoff_s(refusals: int, policy: RetryPolicy, rng: Random) -> float:
    """Return how long to wait before the next try, in seconds.

    `refusals` starts at 1 after the first. Doubles from `first_s` to `longest_s`, then jitter:
    uniform in [half, whole], so that jobs refused together do not come back together.
    """
    wait = wait_exponential(multiplier=policy.first_s, max=policy.longest_s)
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type] # tenacity reads only the number
    state.attempt_number = max(1, refusals)
    whole = float(wait(state))
    return whole * (0.5 + rng.random() / 2)


def judge(
    fault: Fault, refusals: int, policy: RetryPolicy, rng: Random, *, fresh: bool = False
) -> Verdict:
    """Return what follows this fault of a create.

    `refusals` are the counted ones before this. `fresh`: the thread was made less than 30 s ago,
    so that a 404 may be the server's replicas lagging (api-facts.md 11, 39).
    """
    match fault.cause:
        case Cause.RATE:
            return Shut(fault.wait_s)
        case Cause.TOKENS:
            return Shut(fault.wait_s, tokens=True)
        case Cause.CONCURRENCY:
            return Shut(fault.wait_s, concurrency=True)
        case Cause.MONEY | Cause.KEY | Cause.RIGHT | Cause.GONE_API:
            return Halt()
        case Cause.BUSY:
            return Blocked(fault.active_run)
        case Cause.UNSENT:
            return Again(backoff_s(min(refusals + 1, 3), policy, rng), counted=False)
        case Cause.PLACE if not fault.made:
            return Halt()
        case Cause.MISSING if fresh and refusals + 1 < policy.max_attempts:
            return Again(backoff_s(refusals + 1, policy, rng), counted=True)
        case Cause.REJECTED | Cause.MISSING:
            return GiveUp(Reason.REJECTED)
        case _:
            return Look(fault.slow)
