"""The circuit breaker: what stops a batch when the trouble is everybody's.

Pure: told of each create's answer, it says when to stop and why. A stopped batch ends with exit 3
and one line of what to do, before it burns the attempts of ten thousand jobs.
"""

import math
import re
from bisect import bisect_left, bisect_right, insort

from msgspec import Struct, field

from runner.core.faults import Cause, Fault

EQUAL_REFUSALS = 10
"""As many equal refusals in a row, with no create that succeeded between them, are everybody's."""
MOST_EQUAL = 50
"""As many are so in any batch, also in one of which most jobs are refused for their own sake."""
CHANCE = 1e-9
"""A row that chance makes less often than this, by the batch's own share of refusals, is none."""
MISSING_AT_START = 3
"""As many 404s before any create has succeeded: the assistant or the whole API is unknown."""
NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|\b\w*\d\w*\b")
PROXY_ASKS = 407
UNREACHABLE_S = 60.0
"""Without one answer for so long, the host counts as unreachable."""
TO_DO = "; to do: "


class Trip(Struct, frozen=True):
    """Why the batch stops, and what a person can do about it."""

    why: str
    remedy: str

    @property
    def line(self) -> str:
        """Both as one line, as a batch keeps it for `status` and for the command above."""
        return f"{self.why}{TO_DO}{self.remedy}" if self.remedy else self.why

    @classmethod
    def of(cls, line: str, remedy: str) -> "Trip":
        """Read such a line; `remedy` stands for one that is not there."""
        why, _, told = line.partition(TO_DO)
        return cls(why, told or remedy)


def enough(refused: int, others: int) -> int:
    """Return how many equal refusals in a row are everybody's.

    Chance makes rows where many jobs are refused each for its own sake: `refused` are those before
    the row, `others` what was sent before it and not refused.
    """
    if not refused or not others:
        return EQUAL_REFUSALS
    rare = math.log(CHANCE) / math.log(refused / (refused + others))
    return min(MOST_EQUAL, max(EQUAL_REFUSALS, math.ceil(rare)))


class Row(Struct):
    """Creates by the order in which they were sent, which is not that of their answers.

    Where a create's answer is the run's end, a refusal overtakes all that ends well. One that is
    still under way ends the row at its place: it may have made a run.
    """

    sent: int = 0
    made: int = 0
    """The latest that made a run; no row begins before it."""
    under_way: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def send(self) -> int:
        """Return the number of a create that is about to be sent, from 1."""
        self.sent += 1
        self.under_way.append(self.sent)
        return self.sent

    def pass_over(self) -> int:
        """Return the number of what needs a place in the order only now that it is refused."""
        self.sent += 1
        return self.sent

    def end(self, number: int) -> None:
        """Note that a create has been answered; without more, as if it had not been sent."""
        at = bisect_left(self.under_way, number)
        if at < len(self.under_way) and self.under_way[at] == number:
            del self.under_way[at]

    def succeed(self, number: int) -> None:
        """Note that a create made a run."""
        self.made = max(self.made, number)
        del self.refused[: bisect_right(self.refused, self.made)]

    def refuse(self, number: int) -> None:
        """Note a refusal that equals those before."""
        if number > self.made:
            insort(self.refused, number)

    def around(self, number: int) -> int:
        """Return how many refusals stand in a row at the place of one that is answered."""
        if number <= self.made:
            return 0
        at = bisect_left(self.under_way, number)
        first = bisect_left(self.refused, self.under_way[at - 1]) if at else 0
        if at == len(self.under_way):
            return len(self.refused) - first
        return bisect_left(self.refused, self.under_way[at]) - first

    def waits_before(self, number: int) -> int:
        """Return how many that were sent before are still under way."""
        return bisect_left(self.under_way, number)


class Breaker(Struct):
    """Watches one batch in one process. Times are seconds on any steady clock."""

    max_failures: int | None = None
    max_failed_share: float | None = None
    made: int = 0
    refusals: int = 0
    last_refusal: str = ""
    last_told: str = ""
    missing: int = 0
    silent_since: float | None = None
    failed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    row: Row = field(default_factory=Row)

    def send(self) -> int:
        """Return the number of a create that is about to be sent, to tell its end by."""
        return self.row.send()

    def hung_up(self) -> None:
        """Note that nothing is under way any more: a lease is over, and all its creates were cut."""
        self.row.under_way.clear()

    def created(self, number: int = 0) -> None:
        """Note a create that made a run; 0 where it was not this process that sent it."""
        self.made += 1
        self.silent_since = None
        self.row.end(number)
        self.row.succeed(number)

    def answered(self) -> None:
        """Note any answer at all: the host is there."""
        self.silent_since = None

    def refused(
        self, fault: Fault, now_s: float, number: int = 0, *, fresh: bool = False
    ) -> Trip | None:
        """Note a request that failed; return why to stop, or None.

        A `number` of `send` for a create, 0 for what is no create, such as a thread that could not
        be made. `fresh`: the job's thread was made just now, so that the server may not know it yet.
        """
        self.row.end(number)
        self.kinds[fault.cause] = self.kinds.get(fault.cause, 0) + 1
        if fault.http_status:
            self.silent_since = None
        match fault.cause:
            case Cause.KEY:
                return Trip(fault.text, "check the API key and run the same command again")
            case Cause.RIGHT:
                return Trip(fault.text, "check the key's rights to this project or model")
            case Cause.MONEY:
                return Trip(fault.text, "raise the quota or add credit, then run the same again")
            case Cause.PLACE if fault.http_status == PROXY_ASKS:
                return Trip(
                    fault.text, "the proxy wants a name and a password: put them in its URL"
                )
            case Cause.PLACE:
                return Trip(fault.text, "check --base-url and --dialect")
            case Cause.UNSENT:
                return self._unreachable(fault, now_s) or self._in_a_row(number)
            case Cause.MISSING if fresh and "thread" in fault.error.message.lower():
                return self._in_a_row(number)
            case Cause.REJECTED | Cause.MISSING:
                return self._equal(fault, number or self.row.pass_over())
            case _:
                return self._in_a_row(number)

    def _unreachable(self, fault: Fault, now_s: float) -> Trip | None:
        if fault.detail.startswith("guard"):
            return None
        if self.silent_since is None:
            self.silent_since = now_s
        if now_s - self.silent_since < UNREACHABLE_S:
            return None
        return Trip(
            f"no answer for {UNREACHABLE_S:.0f} s: {fault.detail}",
            "check --base-url and the network, then run the same command again",
        )

    def _equal(self, fault: Fault, number: int) -> Trip | None:
        # Names and numbers differ from job to job ("No thread found with id 'thread_17'."); the
        # trouble is the same.
        said = NAMES.sub("…", fault.error.message)
        text = f"{fault.http_status} {fault.error.code} {said}"
        if text != self.last_refusal:
            self.row.refused.clear()
        self.last_refusal, self.last_told = text, fault.text
        self.refusals += 1
        self.row.refuse(number)
        if fault.cause is Cause.MISSING and not self.made and not self.row.waits_before(number):
            self.missing += 1
            if self.missing >= MISSING_AT_START:
                return Trip(
                    f"the first {self.missing} creates were answered with {fault.text}",
                    "check the assistant's id, --base-url and the project of the key",
                )
        return self._in_a_row(number)

    def _in_a_row(self, number: int) -> Trip | None:
        """Judge the row at a place that has just been answered, with a refusal or by closing a gap."""
        if not number:
            return None
        same, waiting = self.row.around(number), self.row.waits_before(number)
        if same < enough(self.refusals - same, self.made + waiting):
            return None
        return Trip(
            f"{same} equal refusals in a row: {self.last_told}",
            "mend the cause, then `runner retry --status rejected` and run the same again",
        )

    def failures(self, failed: int, jobs: int) -> Trip | None:
        """Return why to stop when too many jobs have ended badly (`--max-failures`)."""
        if self.max_failures is not None and failed > self.max_failures:
            return Trip(
                f"{failed} jobs failed, more than --max-failures {self.max_failures}",
                "see `runner status`, mend the cause, and run the same command again",
            )
        if self.max_failed_share is not None and jobs and failed / jobs > self.max_failed_share:
            return Trip(
                f"{failed} of {jobs} jobs failed, more than --max-failures "
                f"{self.max_failed_share:.0%}",
                "see `runner status`, mend the cause, and run the same command again",
            )
        return None
