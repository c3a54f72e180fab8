"""Who may act: this incarnation's lease, judged without I/O just before a byte leaves.

Lapse is sticky: whoever takes over this worker's jobs marks its row in the same transaction, and a
heartbeat that finds the mark has lapsed for good (protocol.md 2). Between heartbeats the local
deadline holds: (time before the heartbeat was sent) + L, on a clock that counts sleep.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Lease:
    """One incarnation's right to send. `boottime` returns seconds and counts suspend."""

    worker: str
    lease_s: float
    margin_s: float
    boottime: Callable[[], float]
    good_until: float = 0.0
    lapsed: bool = False

    def renewed(self, asked_at_s: float) -> None:
        """Note a heartbeat that succeeded and was sent at `asked_at_s`."""
        self.good_until = asked_at_s + self.lease_s

    def may_send(self) -> bool:
        """Whether a create may leave now: never lapsed, and at least the margin left."""
        return not self.lapsed and self.boottime() + self.margin_s <= self.good_until
