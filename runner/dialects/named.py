"""Finds a dialect by its name: Runner's own, or a third party's by entry point."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from runner.core.errors import UsageError, quoted
from runner.dialects.complaints import nearest
from runner.dialects.dialect import Dialect, Options

GROUP = "runner.dialects"
"""The entry point group of third parties: each names a function from options to a dialect."""

OWN: Mapping[str, str] = MappingProxyType(
    {
        "openai": "openai",
        "openai-v1": "openai_v1",
        "azure": "azure",
        "foundry": "foundry",
        "langgraph": "langgraph",
        "responses": "responses",
        "request": "request",
    }
)
"""Each own dialect and the module of this room that makes it, imported when it is asked for."""


def named(name: str, options: Options = MappingProxyType({})) -> Dialect:
    """Return the dialect of a name, made with its own settings.

    Raises UsageError for an unknown name or option, and for a third party's that cannot be loaded.
    """
    make = _own(name) or _third_party(name)
    if make is None:
        known = (*OWN, *sorted(point.name for point in entry_points(group=GROUP)))
        raise UsageError(
            f"no dialect is named {quoted(name)}{nearest(name, known)}",
            where="dialect",
            remedy=f"known are {', '.join(known)}",
        )
    return make(options)


def _own(name: str) -> Callable[[Options], Dialect] | None:
    if name not in OWN:
        return None
    make: Callable[[Options], Dialect] = import_module(f"runner.dialects.{OWN[name]}").make
    return make


def _third_party(name: str) -> Callable[[Options], Dialect] | None:
    for point in entry_points(group=GROUP, name=name):
        return _load(point)
    return None


def _load(point: EntryPoint) -> Callable[[Options], Dialect]:
    try:
        make: Callable[[Options], Dialect] = point.load()
    except (ImportError, AttributeError) as trouble:
        raise UsageError(
            f"{quoted(point.value)} cannot be loaded: {trouble}",
            where=f"dialect {point.name}",
            remedy="repair the package that brings it, or remove it",
        ) from trouble
    return make
