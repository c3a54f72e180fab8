"""Waiting for what another process does, with an end."""

from collections.abc import Callable
from threading import Event

PAUSE_S = 0.02


def until(true: Callable[[], bool], limit_s: float) -> None:
    """Return once `true` says so; fail after the limit."""
    pause = Event()
    for _ in range(int(limit_s / PAUSE_S)):
        if true():
            return
        pause.wait(PAUSE_S)
    raise AssertionError("it did not come about")
