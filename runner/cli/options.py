"""The shared options, generated from `config.SETTINGS`: no name, unit or default stands twice.

`takes` gives a command the options of the settings that it uses, and calls it with the `Settings`
in force. Typer's own reading of variables stays unused: `config.load` reads the environment, with
the file and in the order that cli.md promises.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from runner.cli.given import completing
from runner.config import BY_NAME, DIALECTS, Setting, Settings, Value, load
from runner.core.errors import Stopped, UsageError

TALK = ("db", "quiet", "log_json")
"""Every command that opens the database."""
BATCH = ("batch", *TALK)
"""Commands about a batch that is there."""
API = (
    "base_url",
    "dialect",
    "dialect_option",
    "header",
    "api_key_file",
    "http",
    "timeout",
    "tag",
    "simulate",
    "simulator",
)
"""Commands that speak to the API."""
LINES = ("longest_line", "lenient")
"""Commands that read manifests."""
QUEUE = ("batch", "priority", *LINES, "strict", "replace", "recheck")
"""Commands that queue them."""
WORK = (
    "rpm",
    "tpm",
    "read_rpm",
    "window",
    "concurrency",
    "processes",
    "stream",
    "with",
    "max_attempts",
    "deadline",
    "retry_runs",
    "doubt_wait",
    "stale_wait",
    "lease",
    "on_doubt",
    "look_first",
    "polls",
    "tools",
    "tools_timeout",
    "on_action",
    "max_failures",
    "stop_after",
    "grace",
)
"""Commands that carry jobs."""

OF_A_PARENT = frozenset({"child", "simulator_url"})
"""Settings that a command gives to its worker processes by variables: no person's options."""

METAVARS = {
    "db": "PATH-or-URL",
    "batch": "NAME",
    "base_url": "URL",
    "dialect": "NAME",
    "dialect_option": "NAME=VALUE",
    "header": "'NAME: VALUE'",
    "with": "WHAT,…",
    "tag": "NAME",
    "tools": "MODULE:FUNCTION",
    "max_failures": "N-or-%",
    "simulator": "ARGUMENT",
    "api_key_file": "FILE",
}
"""What stands for a value in the help, where kind and unit do not say it."""


@dataclass(slots=True)
class Loaded:
    """What `main` must know when a command fails: the settings, once they are read."""

    settings: Settings | None = None


class ReaderGoneError(Exception):
    """Whoever read our output has closed it: typer would end with 1, which has another meaning."""


Command = Callable[..., int]
"""A command: takes `Settings` and its own words, returns the exit code."""


def takes(*names: str) -> Callable[[Command], Command]:
    """Give a command the options of these settings; its first parameter gets the `Settings`."""

    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        shared = [_parameter(BY_NAME[name]) for name in names]
        context = inspect.Parameter("ctx", _KEYWORD, annotation=typer.Context)

        @functools.wraps(command)
        def call(*, ctx: typer.Context, **words: object) -> int:
            flags = {name: _value(words.pop(_word(name))) for name in names}
            settings = load(flags)
            if isinstance(ctx.obj, Loaded):
                ctx.obj.settings = settings
            try:
                return command(settings, **words)
            except KeyboardInterrupt:
                raise Stopped("interrupted", remedy="the same command goes on") from None
            except BrokenPipeError:
                raise ReaderGoneError from None

        parameters = [context, *(one.replace(kind=_KEYWORD) for one in own), *shared]
        vars(call)["__signature__"] = inspect.Signature(parameters)
        return call

    return decorate


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _word(name: str) -> str:
    """Return a parameter's name: `with` is a word of Python's own."""
    return f"set_{name}"


def _parameter(setting: Setting) -> inspect.Parameter:
    kind: object = list[str] if setting.many else setting.kind
    option = typer.Option(
        *_declarations(setting),
        help=hint(setting),
        metavar=_metavar(setting),
        show_default=False,
        autocompletion=_completion(setting),
    )
    return inspect.Parameter(
        _word(setting.name),
        _KEYWORD,
        default=None,
        annotation=Annotated[kind | None, option],  # type: ignore[operator] # made, not written: the kind is known when it runs
    )


def _declarations(setting: Setting) -> tuple[str, ...]:
    if setting.kind is bool:
        return (f"{setting.flag}/--no-{setting.flag[2:]}", *(("-q",) * (setting.name == "quiet")))
    return (setting.flag,)


def _metavar(setting: Setting) -> str | None:
    if setting.kind is bool:
        return None
    if setting.name in METAVARS:
        return METAVARS[setting.name]
    if setting.words:
        return "|".join(setting.words)
    if setting.unit:
        return setting.unit.upper()
    return "TEXT" if setting.kind is str else "N"


def hint(setting: Setting) -> str:
    """Return a setting's help: meaning, unit, default, and the variable of the same name."""
    unit = f", in {_UNITS.get(setting.unit, setting.unit)}" if setting.unit else ""
    default = "" if setting.default in (None, (), False, "") else f"default {setting.default}; "
    return f"{setting.meaning}{unit} [{default}{setting.variable}]"


_UNITS = {"s": "seconds"}


def _completion(setting: Setting) -> Callable[[str], list[str]] | None:
    words = DIALECTS if setting.name == "dialect" else setting.words
    return completing(words) if words else None


def _value(given: object) -> Value:
    """Return what typer read as a setting's value; None: not given."""
    if isinstance(given, list):
        return tuple(str(one) for one in given)
    if given is None or isinstance(given, (str, int, float)):
        return given
    raise TypeError(f"typer read {given!r}")


def batch_of(settings: Settings, given: str | None) -> str | None:
    """Return the one batch meant: the argument, else --batch; None where neither is given."""
    if given is not None:
        return given
    if len(settings.batch) > 1:
        raise UsageError("more than one name", where="--batch", remedy="give one")
    return settings.batch[0] if settings.batch else None
