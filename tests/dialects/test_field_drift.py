"""Our declarations against those of the newest OpenAI SDK, where it still has them."""

from typing import get_args, get_type_hints

import pytest

from runner.dialects.fields import CreateRun, FileSearchOptions, Function, Message, Native

params = pytest.importorskip("openai.types.beta.threads.run_create_params")


def test_the_body_has_every_field_of_the_sdk_and_no_other() -> None:
    theirs = set(get_type_hints(params.RunCreateParamsBase)) | {"stream"}
    ours = set(CreateRun.__struct_fields__) | {"include"}
    assert ours == theirs
    assert "include" in Native.__struct_fields__


def test_a_message_has_every_field_of_the_sdk_and_no_other() -> None:
    assert set(Message.__struct_fields__) == set(get_type_hints(params.AdditionalMessage))


def test_the_reasoning_efforts_are_those_of_the_sdk() -> None:
    effort = get_type_hints(params.RunCreateParamsBase)["reasoning_effort"]
    assert set(words(get_type_hints(CreateRun)["reasoning_effort"])) == set(words(effort))


def test_the_tools_have_the_options_of_the_sdk() -> None:
    function = pytest.importorskip("openai.types.shared_params.function_definition")
    search = pytest.importorskip("openai.types.beta.file_search_tool_param")
    theirs = set(get_type_hints(function.FunctionDefinition))
    assert set(Function.__struct_fields__) == theirs
    assert set(FileSearchOptions.__struct_fields__) == set(get_type_hints(search.FileSearch))


def words(hint: object) -> list[str]:
    """Return the words of a union of literals."""
    inside = get_args(hint)
    if not inside:
        return [hint] if isinstance(hint, str) else []
    return [word for one in inside for word in words(one)]
