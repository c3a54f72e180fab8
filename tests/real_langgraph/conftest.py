"""One Agent Server for all that is tried against it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.shell import Shell
from langgraph_server import LangGraphServer, program


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LangGraphServer]:
    langgraph = program()
    if langgraph is None:
        pytest.skip("no LangGraph server: pip install 'langgraph-cli[inmem]'")
    with LangGraphServer(langgraph, tmp_path_factory.mktemp("langgraph")) as one:
        yield one


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)
