"""The settings that decide by what means a batch is carried, given to whole suites by a switch.

RUNNER_TEST_SENDER=httpx (or aiohttp) and RUNNER_TEST_PROCESSES=3 (or 1) give every command of the
crash tests and of the behaviour tests that sender and so many processes. Without them a command
takes its defaults, and a small part of the tests meets both of each by itself.

RUNNER_TEST_LARGE=1 makes the tests of size as large as the cases that they are of.
"""

import os

import pytest

from runner.config import Value

SENDER = os.environ.get("RUNNER_TEST_SENDER", "")  # noqa: TID251 - a test's own switch
PROCESSES = int(os.environ.get("RUNNER_TEST_PROCESSES", "0"))  # noqa: TID251 - a test's own switch
LARGE = bool(os.environ.get("RUNNER_TEST_LARGE"))  # noqa: TID251 - a test's own switch


def given() -> dict[str, Value]:
    """Return the settings that the switches ask for."""
    settings: dict[str, Value] = {}
    if SENDER:
        settings["http"] = SENDER
    if PROCESSES:
        settings["processes"] = PROCESSES
    return settings


both_senders = pytest.mark.parametrize("http", [SENDER] if SENDER else ["httpx", "aiohttp"])
by_this_process = pytest.mark.skipif(
    PROCESSES > 1, reason="looks into the process that sends, or hears what it says"
)
