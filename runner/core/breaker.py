"""The circuit breaker: what stops a batch when the trouble is everybody's.

Pure: told of each create's answer, it says when to stop and why. A stopped batch ends with exit 3
and one line of what to do, before it burns the attempts of ten thousand jobs.
"""

import re

from msgspec import Struct, field

from runner.core.faults import Cause, Fault

EQUAL_REFUSALS = 10
"""As many equal refusals in a row, with no create that succeeded between them, are everybody's."""
MISSING_AT_START = 3
"""As many 404s before any create has succeeded: the assistant or the whole API is unknown."""
NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|\b\w*\d\w*\b")
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


class Breaker(Struct):
    """Watches one batch in one process. Times are seconds on any steady clock."""

    max_failures: int | None = None
    max_failed_share: float | None = None
    any_created: bool = False
    same: int = 0
    last_refusal: str = ""
    missing: int = 0
    silent_since: float | None = None
    failed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def created(self) -> None:
        """Note a create that made a run."""
        self.any_created = True
        self.same = 0
        self.missing = 0
        self.silent_since = None

    def answered(self) -> None:
        """Note any answer at all: the host is there."""
        self.silent_since = None

    def refused(self, fault: Fault, now_s: float) -> Trip | None:
        """Note a create that failed; return why to stop, or None."""
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
            case Cause.PLACE:
                return Trip(fault.text, "check --base-url and --dialect")
            case Cause.UNSENT:
                return self._unreachable(fault, now_s)
            case Cause.REJECTED | Cause.MISSING:
                return self._equal(fault)
            case _:
                return None

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

    def _equal(self, fault: Fault) -> Trip | None:
        # Names and numbers differ from job to job ("No thread found with id 'thread_17'."); the
        # trouble is the same.
        said = NAMES.sub("…", fault.error.message)
        text = f"{fault.http_status} {fault.error.code} {said}"
        self.same = self.same + 1 if text == self.last_refusal else 1
        self.last_refusal = text
        if fault.cause is Cause.MISSING and not self.any_created:
            self.missing += 1
            if self.missing >= MISSING_AT_START:
                return Trip(
                    f"the first {self.missing} creates were answered with {fault.text}",
                    "check the assistant's id, --base-url and the project of the key",
                )
        if self.same >= EQUAL_REFUSALS:
            return Trip(
                f"{self.same} equal refusals in a row: {fault.text}",
                "mend the cause, then `runner retry --status rejected` and run the same again",
            )
        return None

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
