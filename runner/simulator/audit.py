"""What the server saw, for `GET /_audit`: the judge of whether a client kept its promise."""

from collections import Counter, deque

from runner.simulator.exchange import Asked, Kind
from runner.simulator.journal import RunRecord
from runner.simulator.limits import Window

ARRIVALS_KEPT = 100_000  # the newest creates, with time and answer

_COUNTED_AS: dict[Kind, str] = {
    "create": "create_requests",  # `creates` are the runs that were made
    "read": "reads",
    "list": "lists",
    "cancel": "cancels",
    "tool_outputs": "tool_outputs",
    "other": "others",
}


class Repeats:
    """Which runs carry the same value: the first run of each, and all of those that repeat."""

    __slots__ = ("_first", "_more")

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._more: dict[str, list[str]] = {}

    def note(self, value: str, run_id: str) -> None:
        """Record that a run carries `value`; an empty one says nothing."""
        if not value:
            return
        first = self._first.setdefault(value, run_id)
        if first != run_id:
            self._more.setdefault(value, [first]).append(run_id)

    def forget(self, value: str) -> None:
        """Let go of a run's value, unless it was a repeat: that stays told."""
        if value not in self._more:
            self._first.pop(value, None)

    def first(self, value: str) -> str | None:
        """Return the id of the first run that carried `value`."""
        return self._first.get(value)

    def count(self, value: str) -> int:
        """Return how many runs carried `value`."""
        if value in self._more:
            return len(self._more[value])
        return int(value in self._first)

    def repeated(self) -> dict[str, list[str]]:
        """Return {value: run ids} of those seen on more than one run."""
        return self._more


class Audit:
    """Counts, repeats and times since the start (runs and repeats: since the journal's start)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.headers: Counter[str] = Counter()
        self.by_tag = Repeats()
        self.by_key = Repeats()
        self.by_case = Repeats()
        self.admitted = Window()
        self.arrivals: deque[tuple[float, int]] = deque(maxlen=ARRIVALS_KEPT)
        self.first_request = self.last_request = 0.0
        self.first_create = self.last_create = 0.0

    def request(self, now: float, asked: Asked) -> None:
        """Count one request of the API."""
        counts = self.counts
        counts["requests"] += 1
        counts[_COUNTED_AS[asked.kind]] += 1
        self.first_request = self.first_request or now
        self.last_request = now
        headers = self.headers
        for name in asked.headers:
            headers[name] += 1

    def made(self, run: RunRecord) -> None:
        """Count one run that was made."""
        self.counts["creates"] += 1
        self.first_create = self.first_create or run.created
        self.last_create = run.created
        self.note(run)

    def note(self, run: RunRecord) -> None:
        """Record the values of a run that may not repeat."""
        self.by_tag.note(run.tag, run.id)
        self.by_key.note(run.key, run.id)
        self.by_case.note(run.case, run.id)

    def forget(self, run: RunRecord) -> None:
        """Let go of a run that the server has dropped."""
        self.by_tag.forget(run.tag)
        self.by_key.forget(run.key)
        self.by_case.forget(run.case)
