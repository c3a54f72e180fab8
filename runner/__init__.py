"""Runner: ten thousand runs against an LLM run API, none lost, none paid twice.

Importing the package costs nothing; the public names are loaded when they are asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.app import Runner as Runner

__version__ = "0.1.0"

__all__ = ["Runner", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Runner":
        from runner.app import Runner

        return Runner
    raise AttributeError(f"module 'runner' has no attribute {name!r}")
