"""The paths below `/_`, for tests and people: what was seen, what is there, settings, the end."""

from collections import Counter
from collections.abc import Callable
from itertools import islice

import msgspec

from runner.simulator import objects, settings
from runner.simulator.audit import Audit
from runner.simulator.exchange import Answer
from runner.simulator.settings import Settings
from runner.simulator.world import World

BODIES_SHOWN = 5_000


class Inspection:
    """Answers `GET /_audit`, `/_runs`, `/_bodies`, …, and `POST /_set` and `/_stop`."""

    def __init__(
        self, world: World, audit: Audit, apply: Callable[[dict[str, object]], None]
    ) -> None:
        self.world = world
        self.audit = audit
        self.stop: Callable[[], None] = _nothing  # set by the server
        self._apply = apply
        self._reads: dict[str, Callable[[], object]] = {
            "/_audit": self._audit,
            "/_runs": self._runs,
            "/_bodies": self._bodies,
            "/_threads": self._threads,
            "/_arrivals": self._arrivals,
            "/_settings": self._settings,
        }

    def changed(self, changes: dict[str, object]) -> Settings:
        """Return the settings as `changes` would have them."""
        return settings.changed(self.world.settings, changes)

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request as of the moment that the world was advanced to."""
        if method == "GET" and path in self._reads:
            return Answer(200, objects.encode(self._reads[path]()))
        if method == "POST" and path == "/_set":
            try:
                self._apply(msgspec.json.decode(body, type=dict[str, object]))
            except (ValueError, msgspec.DecodeError) as error:
                return Answer(400, objects.encode({"error": {"message": str(error)}}))
            return Answer(200, objects.encode(self.world.settings))
        if method == "POST" and path == "/_stop":
            self.stop()
            return Answer(200, b"{}")
        return Answer(404, objects.encode({"error": {"message": f"no such path: {path[:60]}"}}))

    def _audit(self) -> object:
        world, audit = self.world, self.audit
        crowded = {
            name: thread.active_max
            for name, thread in world.threads.items()
            if thread.active_max > 1
        }
        statuses = Counter(world.at_rest)
        for thread in world.threads.values():
            statuses.update(run.status for run in thread.active)
        return {
            "counts": audit.counts,
            "faults": audit.faults,
            "refusals": audit.refusals,
            "answers": {str(status): count for status, count in audit.answers.items()},
            "headers": audit.headers,
            "runs": len(world.runs) + world.dropped,
            "dropped": world.dropped,
            "threads": len(world.threads),
            "statuses": statuses,
            "duplicates_by_key": audit.by_key.repeated(),
            "duplicates_by_tag": audit.by_tag.repeated(),
            "duplicates_by_case": audit.by_case.repeated(),
            "active": world.active,
            "active_max": world.active_max,
            "active_max_in_one_thread": max(crowded.values(), default=min(world.active_max, 1)),
            "active_max_by_thread": crowded,
            "window_s": world.settings.window,
            "window_max": audit.admitted.most,
            "first_request": audit.first_request,
            "last_request": audit.last_request,
            "first_create": audit.first_create,
            "last_create": audit.last_create,
        }

    def _runs(self) -> object:
        return {run.id: objects.run(run) for run in self.world.runs.values()}

    def _bodies(self) -> object:
        newest = islice(reversed(self.world.runs.values()), BODIES_SHOWN)
        return {run.id: run.body for run in newest}

    def _threads(self) -> object:
        return {
            name: [{"id": run.id, "tag": run.tag, "case": run.case} for run in thread.runs.values()]
            for name, thread in self.world.threads.items()
        }

    def _arrivals(self) -> object:
        return {"creates": list(self.audit.arrivals)}

    def _settings(self) -> object:
        return msgspec.structs.replace(self.world.settings, key="")


def _nothing() -> None:
    """Stand in until the server says how to stop."""
