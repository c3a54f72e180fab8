"""Each dialect on the simulator's wire: where it listens, what a line looks like, how runs end."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simulator_process import SimulatorProcess

Line = dict[str, object]
USER = {"role": "user", "content": "Hi"}


@dataclass(frozen=True)
class Wire:
    """One dialect. `base` stands after the server's root, `flags` are the simulator's.

    `ends` is fate to "state status"; a line is made of (name, metadata, thread or None).
    """

    dialect: str
    base: str
    line: Callable[[str, Mapping[str, str], str | None], Line]
    ends: Mapping[str, str]
    key: str
    flags: tuple[str, ...] = ()
    settles: bool = True
    """Whether a look settles a doubt."""

    def url(self, server: SimulatorProcess) -> str:
        """Return the base URL."""
        return f"{server.root}{self.base}"


def _assistants(name: str, metadata: Mapping[str, str], thread: str | None) -> Line:
    line: Line = {"custom_id": name, "assistant_id": "asst_1", "metadata": dict(metadata)}
    return line if thread is None else {**line, "thread_id": f"thread_{thread}"}


def _langgraph(name: str, metadata: Mapping[str, str], thread: str | None) -> Line:
    line: Line = {"custom_id": name, "assistant_id": "agent", "metadata": dict(metadata)}
    line["input"] = {"messages": [USER]}
    if thread is None:
        return line
    named = str(uuid.uuid5(uuid.NAMESPACE_URL, thread))
    return {**line, "thread_id": named, "if_not_exists": "create"}


def _responses(name: str, metadata: Mapping[str, str], _thread: str | None) -> Line:
    return {"custom_id": name, "model": "gpt-5", "input": "Hi", "metadata": dict(metadata)}


def _request(name: str, metadata: Mapping[str, str], _thread: str | None) -> Line:
    body = {"model": "gpt-4o", "messages": [USER], "metadata": dict(metadata)}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


REJECTED = {"refused": "failed rejected"}
V1_ENDS = {
    "completed": "succeeded completed",
    "failed": "failed failed",
    "expired": "failed expired",
    "cancelled": "cancelled cancelled",
    **REJECTED,
}
V2_ENDS = {**V1_ENDS, "incomplete": "failed incomplete"}
GRAPH_ENDS = {
    "completed": "succeeded success",
    "failed": "failed error",
    "expired": "failed timeout",
    **REJECTED,
}
RESPONSE_ENDS = {
    "completed": "succeeded completed",
    "failed": "failed failed",
    "incomplete": "failed incomplete",
    **REJECTED,
}

WIRES = (
    Wire("openai", "/v1", _assistants, V2_ENDS, "OPENAI_API_KEY"),
    Wire("openai-v1", "/v1", _assistants, V1_ENDS, "OPENAI_API_KEY"),
    Wire("azure", "/openai", _assistants, V2_ENDS, "AZURE_OPENAI_API_KEY"),
    Wire("foundry", "/api/projects/p", _assistants, V2_ENDS, "AGENT_TOKEN"),
    Wire(
        "langgraph",
        "",
        _langgraph,
        GRAPH_ENDS,
        "LANGGRAPH_API_KEY",
        flags=("--dialect", "langgraph"),
    ),
    Wire("responses", "/v1", _responses, RESPONSE_ENDS, "OPENAI_API_KEY", settles=False),
    Wire(
        "request",
        "/v1",
        _request,
        {"completed": "succeeded completed", **REJECTED},
        "OPENAI_API_KEY",
        settles=False,
    ),
)
