"""Finding the user's function that answers tool calls: `--tools package.module:function`."""

import importlib
import sys

from runner.core.errors import UsageError
from runner.work.policy import ToolFunction


def load_tools(name: str) -> ToolFunction:
    """Return the function; raises `UsageError` where the name or the module is unusable."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(
            f"'{name}' is no function", where="--tools", remedy="write module:function"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as trouble:
        raise UsageError(
            f"'{name}' cannot be loaded: {type(trouble).__name__}: {trouble}"[:300],
            where="--tools",
            remedy="check that `python -c 'import MODULE'` works here",
        ) from trouble
    if not callable(found):
        raise UsageError(f"'{name}' is no function", where="--tools", remedy="name a function")
    return found
