"""What every test shares."""

import os
import sys

import pytest
from hypothesis import settings

# Where a machine lets Python keep no bytecode, each process that the tests start, and each that runs
# some of them, would compile all of Runner and of the tests anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # noqa: TID251 - the children's
sys.dont_write_bytecode = False

# No test asserts a time, and a busy machine is a fair machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["engines", "no_skip"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
