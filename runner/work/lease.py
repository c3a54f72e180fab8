"""Who may act: this incarnation's lease, judged without I/O just before a byte leaves.

Lapse is sticky: whoever takes over this worker's jobs marks its row in the same transaction, and a
heartbeat that finds the mark has lapsed for good (protocol.md 2). Between heartbeats the local
deadline holds: (time before the heartbeat was sent) + L, on a clock that counts sleep.

With a dead man's timer the deadline also holds for what was allowed before it: while creates may
leave the timer is wound to it, and it is stopped only when all connections have been closed.
"""

from collections.abc import Callable

from msgspec import Struct

from runner.work.dead_man import DeadMan


class Lease(Struct):
    """One incarnation's right to send. `boottime` returns seconds and counts suspend."""

    worker: str
    lease_s: float
    margin_s: float
    boottime: Callable[[], float]
    dead_man: DeadMan | None = None
    good_until: float = 0.0
    lapsed: bool = False
    wound: bool = False

    def renewed(self, asked_at_s: float) -> None:
        """Note a heartbeat that succeeded and was sent at `asked_at_s`."""
        good_until = asked_at_s + self.lease_s
        # An answer that came too late allows nothing: to wind to its moment would be to die of it.
        if self.dead_man is not None and self.boottime() + self.margin_s <= good_until:
            self.dead_man.wind(good_until)
            self.wound = True
        self.good_until = good_until

    def hang_up_in_s(self) -> float:
        """Return how long it is until what was allowed must be hung up, half of the margin early.

        By then nothing new may leave, and there is time to do it before the timer does.
        """
        return self.good_until - self.margin_s / 2 - self.boottime()

    def hung_up(self) -> None:
        """Stop the timer: every connection has been closed, so nothing can leave any more."""
        if self.dead_man is not None and self.wound:
            self.dead_man.stop()
            self.wound = False

    def may_send(self) -> bool:
        """Whether a create may leave now: never lapsed, and at least the margin left."""
        return not self.lapsed and self.boottime() + self.margin_s <= self.good_until
