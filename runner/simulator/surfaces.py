"""Which API a path belongs to, whatever base path stands before it (`/v1`, a gateway's)."""

from urllib.parse import unquote

from runner.simulator.audit import Audit
from runner.simulator.exchange import Surface
from runner.simulator.langgraph_routes import LangGraphRoutes
from runner.simulator.openai_routes import OpenAiRoutes
from runner.simulator.request_routes import RequestRoutes
from runner.simulator.responses_routes import ResponsesRoutes
from runner.simulator.world import World

ROOTS = frozenset({"threads", "responses", "conversations", "chat", "embeddings", "completions"})
LONGEST_BASE = 5  # parts


def parts(raw_path: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the base path and the parts after it; a `%2F` stays inside its part."""
    found = raw_path.decode("latin-1").strip("/").split("/")
    base = ""
    for n, part in enumerate(found[:LONGEST_BASE]):
        if part in ROOTS:
            base, found = "/".join(found[:n]), found[n:]
            break
    return base, tuple([unquote(part) if "%" in part else part for part in found])


class Surfaces:
    """All the APIs of one server; threads are LangGraph's where its dialect is set."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._openai = OpenAiRoutes(world, audit)
        self._langgraph = LangGraphRoutes(world, audit)
        responses = ResponsesRoutes(world, audit)
        requests = RequestRoutes(world, audit)
        self._others: dict[str, Surface] = {
            "responses": responses,
            "conversations": responses,
            "chat": requests,
            "embeddings": requests,
            "completions": requests,
        }

    def of(self, path: tuple[str, ...]) -> Surface:
        """Return the API of a path."""
        other = self._others.get(path[0])
        if other is not None:
            return other
        return self._langgraph if self._world.settings.dialect == "langgraph" else self._openai
