"""Endpoints where a run is one exchange: chat completions, completions, embeddings.

Nothing is kept but what the audit needs: the server of such an API can prove nothing either.
"""

import msgspec

from runner.simulator import objects
from runner.simulator.audit import Audit
from runner.simulator.bodies import OBJECT, JsonObject, read
from runner.simulator.exchange import Answer, Asked, Held, Kind
from runner.simulator.journal import RunRecord
from runner.simulator.making import Maker
from runner.simulator.objects import Object
from runner.simulator.refusals import Refusal
from runner.simulator.world import World

KINDS: dict[str, Kind] = {
    "POST chat/completions": "create",
    "POST completions": "create",
    "POST embeddings": "create",
}
_NEEDED = {"chat": "messages", "completions": "prompt", "embeddings": "input"}
_FINISH = {"content_filter": "content_filter", "incomplete": "length"}
_DIMENSIONS = 4


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw = msgspec.Raw(b"null")


class RequestRoutes:
    """Answers when the work is done; a failed one is a 500."""

    kinds = KINDS

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._maker = Maker(world, audit)

    def spell(self, refusal: Refusal, asked: Asked) -> bytes:  # noqa: ARG002 - of the Surface
        """Return a refusal's body."""
        return refusal.body()

    def answer(self, asked: Asked, now: float) -> Answer:
        """Carry out one exchange."""
        if asked.shape not in KINDS:
            raise Refusal(404, f"Invalid URL ({asked.method})", kind="unknown_url")
        sent = read(OBJECT, asked.body)
        for name in ("model", _NEEDED[asked.path[0]]):
            if name not in sent:
                raise Refusal(
                    400,
                    f"Missing required parameter: '{name}'.",
                    kind="missing_required_parameter",
                    param=name,
                    code="missing_required_parameter",
                )
        replayed = self._maker.replayed(asked, None, asked.body)
        if replayed is not None:
            return self._held(replayed, asked.path[0], sent)
        run_id = self._world.new_id("exchange")
        thread = self._world.make_thread(f"of_{run_id}", now)
        fate = self._maker.fate(thread, asked.body)
        run = self._maker.make(thread, run_id, asked.body, fate=fate, asked=asked, now=now)
        return self._held(run, asked.path[0], sent)

    def _held(self, run: RunRecord, root: str, sent: JsonObject) -> Answer:
        show = {"chat": _chat, "completions": _completion, "embeddings": _embedding}[root]
        return Answer(200, held=Held(run, lambda: objects.encode(show(run, sent))))


def _choice(run: RunRecord) -> dict[str, object]:
    return {"index": 0, "finish_reason": _FINISH.get(run.end, "stop"), "logprobs": None}


def _chat(run: RunRecord, sent: JsonObject) -> Object:
    messages = msgspec.json.decode(sent["messages"], type=list[_Message])
    said = messages[-1].content if messages else msgspec.Raw(b'""')
    text = f"Simulated answer to: {bytes(said).decode()[:400]}"
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-{run.id[9:]}",
        "object": "chat.completion",
        "created": int(run.created),
        "model": sent["model"],
        "choices": [{**_choice(run), "message": message}],
        "usage": objects.usage(run),
    }


def _completion(run: RunRecord, sent: JsonObject) -> Object:
    return {
        "id": f"cmpl-{run.id[9:]}",
        "object": "text_completion",
        "created": int(run.created),
        "model": sent["model"],
        "choices": [{**_choice(run), "text": "Simulated answer"}],
        "usage": objects.usage(run),
    }


def _embedding(run: RunRecord, sent: JsonObject) -> Object:
    count = 1
    if bytes(sent["input"]).startswith(b'["'):
        count = len(msgspec.json.decode(sent["input"], type=list[str]))
    used = len(bytes(run.body)) // 4
    return {
        "object": "list",
        "model": sent["model"],
        "data": [
            {"object": "embedding", "index": n, "embedding": [0.5] * _DIMENSIONS}
            for n in range(count)
        ],
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }
