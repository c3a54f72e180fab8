"""What every test shares."""

import pytest

pytest_plugins = ["engines", "no_skip"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
