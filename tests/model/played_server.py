"""A server and a network as values: requests lie in flight until a test delivers or loses them.

Speaks the Assistants shape, so that the real dialect reads it. Lists show a run only `lag_ms` after
it was made; a thread admits one active run where the server `locks`.
"""

import json
from dataclasses import dataclass

from runner.core.call import Call, Reply

ACTIVE = frozenset({"queued", "in_progress", "cancelling"})


class Time:
    """The one clock of a played world: machine, wall and server."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def boot_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + self.now_ms

    def seconds(self) -> float:
        return self.now_ms / 1000


@dataclass
class Made:
    """A run on the server; `key` is the tag that came with its create."""

    id: str
    thread_id: str
    key: str
    made_ms: int
    status: str = "in_progress"

    @property
    def active(self) -> bool:
        return self.status in ACTIVE

    def as_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "object": "thread.run",
            "thread_id": self.thread_id,
            "status": self.status,
            "created_at": self.made_ms / 1000,
            "metadata": {"runner_key": self.key},
        }


@dataclass
class InFlight:
    """A create under way: it arrives until `until_ms`, or never. `reply` is what was answered."""

    call: Call
    until_ms: int
    hung_up: bool = False
    reply: Reply | None = None


class Server:
    """Runs by thread, in the order in which they were made."""

    def __init__(self, time: Time, *, lag_ms: int, locks: bool) -> None:
        self.runs: list[Made] = []
        self.flight: list[InFlight] = []
        self._time = time
        self._lag_ms = lag_ms
        self._locks = locks

    def send(self, call: Call, *, longest_ms: int) -> InFlight:
        """Take a create on its way."""
        sent = InFlight(call, self._time.now_ms + longest_ms)
        self.flight.append(sent)
        return sent

    def deliver(self, sent: InFlight) -> None:
        """Let a create arrive: its run is made, or it is refused."""
        self.flight.remove(sent)
        reply = self._create(sent.call)
        if not sent.hung_up:
            sent.reply = reply

    def refuse(self, sent: InFlight) -> None:
        """Let a create arrive at a limit."""
        self.flight.remove(sent)
        if not sent.hung_up:
            sent.reply = _refusal(429, "Rate limit reached for runs")

    def lose(self, sent: InFlight) -> None:
        """Let a create never arrive."""
        self.flight.remove(sent)

    def answer(self, call: Call) -> Reply:
        """Answer what makes nothing: a list, a read, a cancel."""
        parts = call.path.strip("/").split("/")
        thread_id = parts[1]
        if len(parts) == 3:
            seen = [run for run in self.runs if run.thread_id == thread_id and self._shown(run)]
            data = [run.as_json() for run in reversed(seen)]
            return _reply(200, {"object": "list", "data": data, "has_more": False})
        found = [run for run in self.runs if run.id == parts[3]]
        if not found:
            return _refusal(404, "No run found")
        run = found[0]
        if parts[-1] == "cancel":
            if not run.active:
                return _refusal(400, f"Cannot cancel run with status '{run.status}'.")
            run.status = "cancelling"
        return _reply(200, run.as_json())

    def _shown(self, run: Made) -> bool:
        return self._time.now_ms >= run.made_ms + self._lag_ms

    def _create(self, call: Call) -> Reply:
        thread_id = call.path.strip("/").split("/")[1]
        for run in self.runs:
            if self._locks and run.thread_id == thread_id and run.active:
                said = f"Thread {thread_id} already has an active run {run.id}."
                return _refusal(400, said)
        key = dict(call.headers)["Idempotency-Key"]
        body: dict[str, dict[str, str]] = json.loads(call.body or b"{}")
        assert body["metadata"]["runner_key"] == key
        made = Made(f"run_{len(self.runs):04d}", thread_id, key, self._time.now_ms)
        self.runs.append(made)
        return _reply(200, made.as_json())


def _reply(status: int, body: dict[str, object]) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps(body).encode())


def _refusal(status: int, message: str) -> Reply:
    return _reply(status, {"error": {"message": message, "type": "invalid_request_error"}})
