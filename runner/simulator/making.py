"""How a run comes to be, the same for each dialect: its fate, its record, its note in the audit."""

import msgspec

from runner.simulator import fates
from runner.simulator.audit import Audit
from runner.simulator.exchange import Asked, tags
from runner.simulator.fates import Fate
from runner.simulator.journal import NULL, RunRecord
from runner.simulator.refusals import Refusal
from runner.simulator.world import Thread, World

_DROPPED = msgspec.Raw(b"{}")


class Maker:
    """Makes runs in one world, under the eyes of its audit."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit

    def fate(self, thread: Thread, body: bytes) -> Fate:
        """Return what the run of `body` will come to; raises the 400 of a refused one."""
        settings = self._world.settings
        said = tags(body, settings.tag)
        fate = fates.told(said.fate) or fates.drawn(settings.fate, self._world.rng)
        prior = self._audit.by_case.count(said.case) if said.case else len(thread.runs)
        if fate.times and prior >= fate.times:
            return fates.COMPLETED
        if fate.end == "refused":
            raise Refusal(400, "This request was refused.", kind="refused")
        return fate

    def replayed(self, asked: Asked, thread_id: str | None, body: bytes) -> RunRecord | None:
        """Return the run that was made under this request's key, where keys are honoured.

        `thread_id` None: any. Raises 409 where the key came with another request.
        """
        key = asked.headers.get("idempotency-key", "")
        if not self._world.settings.keys or not key:
            return None
        earlier = self._audit.by_key.first(key)
        run = self._world.runs.get(earlier) if earlier else None
        if run is None:
            return None
        if thread_id not in {None, run.thread_id} or bytes(run.body) != body:
            raise Refusal(
                409,
                "This idempotency key was used with another request.",
                kind="idempotency_key_conflict",
                code="idempotency_key_conflict",
            )
        self._audit.counts["replays"] += 1
        return run

    def make(
        self, thread: Thread, run_id: str, body: bytes, *, fate: Fate, asked: Asked, now: float
    ) -> RunRecord:
        """Make the run and let go of the oldest at rest."""
        settings = self._world.settings
        said, key = tags(body, settings.tag), asked.headers.get("idempotency-key", "")
        run = RunRecord(
            id=run_id,
            thread_id=thread.record.id,
            created=now,
            body=msgspec.Raw(body),
            metadata=_DROPPED if settings.no_tags else NULL,
            tag=said.tag,
            key=said.tag if key == said.tag else key,  # one string for both: memory
            case=said.case,
        )
        self._world.make_run(thread, run, fate)
        self._audit.made(run)
        for gone in self._world.drop_oldest():
            self._audit.forget(gone)
        return run
