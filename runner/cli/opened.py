"""An app and a teller for one command, closed and silent again at its end."""

import gc
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.cli.talk import Teller, is_terminal, manner_of, standard_error
from runner.config import Settings

if TYPE_CHECKING:
    from runner.app import Commands


@contextmanager
def opened(settings: Settings) -> Iterator[tuple["Commands", Teller]]:
    """Give an app with these settings, which talks through the teller."""
    from runner.app import Commands
    from runner.composition import Talk

    # What is loaded now lives as long as the command; jobs come and go without cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    teller = teller_of(settings)
    talk = Talk(warn=teller.warn, tick=teller.tick, every_s=teller.manner.every_s)
    try:
        with Commands(settings, talk=talk) as runner:
            yield runner, teller
    finally:
        teller.rest()


def teller_of(settings: Settings) -> Teller:
    """Return what talks on stderr under these settings."""
    stream = standard_error()
    manner = manner_of(settings, terminal=is_terminal(stream))
    return Teller(stream, manner, time.monotonic, _wall_s, _columns)


def _wall_s() -> float:
    # Loaded when it is asked: an error line needs no clock, and the app takes a second to load.
    from runner.composition import wall_s

    return wall_s()


def _columns() -> int:
    return shutil.get_terminal_size((80, 24)).columns
