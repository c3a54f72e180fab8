"""A dialect is found by its name, Runner's own or a third party's."""

import importlib.util
import sys
from pathlib import Path

import pytest

from runner.core.errors import UsageError
from runner.dialects.named import OWN, named


@pytest.mark.parametrize("name", ["openai", "openai-v1", "azure", "foundry"])
def test_each_name_gives_its_dialect(name: str) -> None:
    assert named(name).name == name


def test_every_own_name_has_its_module() -> None:
    for name, module in OWN.items():
        assert importlib.util.find_spec(f"runner.dialects.{module}") is not None
        assert named(name).name == name


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no dialect is named 'opnai'; did you mean openai"):
        named("opnai")


def test_an_unknown_option_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="dialect azure: api_verson: no such option; did you mean"):
        named("azure", {"api_verson": "1"})
    with pytest.raises(UsageError, match="longer than 64"):
        named("openai", {"tag": "t" * 65})


def test_azure_takes_its_key_or_a_token() -> None:
    azure = named("azure", {"resource": "res", "api_version": "2024-09-01-preview"})
    assert azure.base_url == "https://res.openai.azure.com/openai"
    assert azure.key_variables == ("AZURE_OPENAI_API_KEY",)
    assert ("api-key", "k") in azure.headers("k")
    entra = named("azure", {"entra": "1"})
    assert entra.key_variables == ("AZURE_OPENAI_AD_TOKEN",)
    assert ("Authorization", "Bearer k") in entra.headers("k")


def test_foundry_has_its_base_from_resource_and_project() -> None:
    foundry = named("foundry", {"resource": "res", "project": "my project"})
    assert foundry.base_url == "https://res.services.ai.azure.com/api/projects/my%20project"


def test_openai_sends_organization_and_project_where_they_are_set() -> None:
    headers = named("openai", {"organization": "org_1"}).headers(None)
    assert ("OpenAI-Organization", "org_1") in headers
    assert not any(name == "OpenAI-Project" for name, _ in headers)


def test_a_third_party_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "moon_dialect.py"
    package.write_text(
        "from dataclasses import replace\n"
        "from runner.dialects.named import named\n"
        "def make(options):\n"
        "    return replace(named('openai'), name='moon')\n"
    )
    facts = tmp_path / "moon_dialect-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: moon-dialect\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[runner.dialects]\nmoon = moon_dialect:make\nbroken = moon_dialect:absent\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert named("moon").name == "moon"
    with pytest.raises(UsageError, match="dialect broken: 'moon_dialect:absent' cannot be loaded"):
        named("broken")
    with pytest.raises(UsageError, match="did you mean moon"):
        named("mooon")
    sys.modules.pop("moon_dialect", None)
