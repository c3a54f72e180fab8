"""A shell for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.shell import Nursery, Shell


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture
def shell(tmp_path: Path, nursery: Nursery) -> Shell:
    return Shell(tmp_path, nursery)
