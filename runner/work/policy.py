"""The settings that work goes by: small, frozen, made from `Settings` in app."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct, field

from runner.core.retry import RetryPolicy


class OnDoubt(StrEnum):
    """What follows a doubt that nothing can settle."""

    HOLD = "hold"
    RESEND = "resend"


class OnAction(StrEnum):
    """What follows a run that waits for outputs which nobody has."""

    CANCEL = "cancel"
    HOLD = "hold"
    FAIL = "fail"


ToolFunction: TypeAlias = Callable[..., object]


class WorkPolicy(Struct, frozen=True):
    """How a pool works. Seconds throughout; `concurrency` is the ceiling of runs in flight.

    `stale_wait_s` is Z of protocol.md 4: added where a sender is only presumed dead. `lease_s` and
    `margin_s` are L and r. `quick_look_s` are the times of the early looks after a doubt closed.
    """

    concurrency: int = 100
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_s: float = 60.0
    doubt_wait_s: float = 15.0
    stale_wait_s: float = 75.0
    lease_s: float = 30.0
    margin_s: float = 10.0
    quick_look_s: tuple[float, ...] = (0.0, 1.0, 3.0, 8.0)
    on_doubt: OnDoubt | None = None
    deadline_s: float | None = None
    stuck_s: float = 24 * 3600.0
    retry_runs: int = 0
    stream: bool = False
    beside: frozenset[str] = frozenset()
    polls_a_run: float = 2.5
    on_action: OnAction = OnAction.FAIL
    tools: ToolFunction | None = None
    tools_timeout_s: float = 60.0
    tool_rounds: int = 20
    grace_s: float = 5.0
    stop_after_s: float | None = None
    max_failures: int | None = None
    max_failed_share: float | None = None
    forever: bool = False
    version: str = "0"
