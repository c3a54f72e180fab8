"""Runner: ten thousand runs against an LLM run API, none lost, none paid twice.

Importing the package costs nothing; the public names are loaded when they are asked for. What a
program needs is told in `runner.api`, and in `runner.sync` for one without an event loop.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.api import (
        BadJob as BadJob,
    )
    from runner.api import (
        BadJobs as BadJobs,
    )
    from runner.api import (
        Outcome as Outcome,
    )
    from runner.api import (
        Runner as Runner,
    )
    from runner.api import (
        RunnerError as RunnerError,
    )
    from runner.api import (
        Stopped as Stopped,
    )
    from runner.api import (
        UsageError as UsageError,
    )

__version__ = "0.1.0"

__all__ = [
    "BadJob",
    "BadJobs",
    "Outcome",
    "Runner",
    "RunnerError",
    "Stopped",
    "UsageError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from runner import api

        return getattr(api, name)
    raise AttributeError(f"module 'runner' has no attribute {name!r}")
