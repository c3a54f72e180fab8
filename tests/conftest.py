"""What every test shares."""

import pytest
from hypothesis import settings

# No test asserts a time, and a busy machine is a fair machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["engines", "no_skip"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
