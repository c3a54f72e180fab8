"""The settings: flags, then the environment, then runner.toml, then defaults.

The only reader of the environment.

Every setting is declared once, in `SETTINGS`; the command line's options, the RUNNER_… variables
and the keys of runner.toml carry its name. Secrets are read here and nowhere else, held in
`Secret`, and never printed.
"""

import difflib
import json
import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeAlias

from runner.core.errors import UsageError, quoted

Value: TypeAlias = str | int | float | bool | tuple[str, ...] | None


class Secret:
    """A key or token: never shown by repr, str or an error."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: how its text is read, what it defaults to, what it means.

    `unit` goes into help texts; `low` and `high` are told when broken. `many` may be given more
    than once; in the environment its values stand between commas, or as a JSON list of strings.
    """

    name: str
    kind: type
    default: Value
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    words: tuple[str, ...] = ()
    many: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of the same name."""
        return f"RUNNER_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The command line's option of the same name."""
        return f"--{self.name.replace('_', '-')}"


DIALECTS = ("openai", "openai-v1", "azure", "foundry", "langgraph", "responses", "request")
BESIDE = ("messages", "steps", "deltas")

SETTINGS: tuple[Setting, ...] = (
    Setting("db", str, None, "SQLite file, or postgresql://… (default runner.db)"),
    Setting("batch", str, (), "the batch's name", many=True),
    Setting("base_url", str, None, "the API's base URL; the dialect's own variable is read too"),
    Setting("dialect", str, "openai", "how the API is spoken to"),
    Setting(
        "dialect_option", str, (), "NAME=VALUE for the dialect, such as api_version=…", many=True
    ),
    Setting("header", str, (), "'Name: value'; a secret one as 'Name: env:VARIABLE'", many=True),
    Setting("rpm", float, None, "creates a minute", low=0.01, high=1_000_000),
    Setting("tpm", float, None, "tokens a minute", low=1, high=10_000_000_000),
    Setting("read_rpm", float, None, "reads a minute", low=0.01, high=10_000_000),
    Setting("window", float, None, "the span in which the limit is counted", "s", 0.1, 86_400),
    Setting("concurrency", int, 100, "ceiling of runs in flight", low=1, high=100_000),
    Setting(
        "processes",
        int,
        None,
        "worker processes; without it one, and more while processor time holds the work back",
        low=1,
        high=256,
    ),
    Setting("priority", int, 1, "weight of the batch among others", low=1, high=1000),
    Setting("stream", bool, False, "follow runs by their event streams instead of polls"),
    Setting(
        "with",
        str,
        (),
        "what to fetch beside the run: messages, steps, deltas",
        words=BESIDE,
        many=True,
    ),
    Setting("max_attempts", int, 8, "tries to create that count", low=1, high=1000),
    Setting("timeout", float, 60.0, "one request's time", "s", 0.05, 3600),
    Setting(
        "deadline", float, None, "one run's time before it is cancelled", "s", 0.1, 30 * 86_400
    ),
    Setting(
        "retry_runs",
        int,
        0,
        "how often a run that failed by the server's fault is made anew",
        low=0,
        high=100,
    ),
    Setting("doubt_wait", float, 15.0, "how long a doubtful create is looked for", "s", 0, 86_400),
    Setting(
        "stale_wait", float, 75.0, "added where a sender is only presumed dead", "s", 0, 86_400
    ),
    Setting("lease", float, 30.0, "how long a silent worker keeps its jobs", "s", 1, 3600),
    Setting("on_doubt", str, None, "where the server can prove nothing", words=("hold", "resend")),
    Setting("look_first", bool, False, "look before every first send (a restored database)"),
    Setting(
        "tag", str, "runner_key", "name of the metadata pair that carries the key; '' for none"
    ),
    Setting("polls", float, 2.5, "questions a run that following may cost", low=1.1, high=100),
    Setting("tools", str, None, "package.module:function that answers tool calls"),
    Setting("tools_timeout", float, 60.0, "one call of the tools function", "s", 0.01, 86_400),
    Setting(
        "on_action",
        str,
        "fail",
        "a run that waits for outputs nobody has",
        words=("cancel", "hold", "fail"),
    ),
    Setting("max_failures", str, None, "stop after so many failed jobs, or so many percent"),
    Setting("stop_after", float, None, "stop after this time", "s", 0.01),
    Setting("grace", float, 5.0, "how long a drain waits for creates under way", "s", 0, 3600),
    Setting("simulate", bool, False, "use a simulator started for this command alone"),
    Setting(
        "simulator", str, (), "an argument for the simulator, such as --duration=0.1", many=True
    ),
    Setting("simulator_url", str, None, "where the simulator of a parent process listens"),
    Setting("child", bool, False, "a worker process of a parent command: it leaves the talk to it"),
    Setting("api_key_file", str, None, "a file that holds the API key"),
    Setting("http", str, "auto", "the HTTP client", words=("auto", "httpx", "aiohttp")),
    Setting("longest_line", int, 16 * 1024 * 1024, "bytes of the longest manifest line", low=64),
    Setting("strict", bool, False, "do nothing at all while a line is bad"),
    Setting("lenient", bool, False, "send unknown fields on unchanged"),
    Setting("replace", bool, False, "a changed line becomes its job's next generation"),
    Setting("recheck", bool, False, "read a manifest again though it is unchanged"),
    Setting("log_json", bool, False, "one JSON object a line on stderr"),
    Setting("quiet", bool, False, "errors only"),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Settings:
    """Every setting's value. `sources` tells for each which layer gave it."""

    db: str
    batch: tuple[str, ...]
    base_url: str | None
    dialect: str
    dialect_option: tuple[str, ...]
    header: tuple[str, ...]
    rpm: float | None
    tpm: float | None
    read_rpm: float | None
    window: float | None
    concurrency: int
    processes: int | None
    priority: int
    stream: bool
    with_: tuple[str, ...]
    max_attempts: int
    timeout: float
    deadline: float | None
    retry_runs: int
    doubt_wait: float
    stale_wait: float
    lease: float
    on_doubt: str | None
    look_first: bool
    tag: str
    polls: float
    tools: str | None
    tools_timeout: float
    on_action: str
    max_failures: str | None
    stop_after: float | None
    grace: float
    simulate: bool
    simulator: tuple[str, ...]
    simulator_url: str | None
    child: bool
    api_key_file: str | None
    http: str
    longest_line: int
    strict: bool
    lenient: bool
    replace: bool
    recheck: bool
    log_json: bool
    quiet: bool
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def given(self, name: str) -> bool:
        """Whether the setting was given by a flag, a variable or the file."""
        return self.sources.get(name, "default") != "default"

    def failures_limit(self) -> tuple[int | None, float | None]:
        """Return `--max-failures` as a count or as a share of 1; one of them, or neither."""
        if self.max_failures is None:
            return None, None
        text = self.max_failures.strip()
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                if 0 <= share <= 1:
                    return None, share
            elif int(text) >= 0:
                return int(text), None
        except ValueError:
            pass
        raise UsageError(
            f"{quoted(text)} is neither a count nor a percentage",
            where="--max-failures",
            remedy="give a whole number such as 20, or a share such as 5%",
        )


def load(
    flags: Mapping[str, Value], environ: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Return the settings in force.

    `flags` holds what was given on the command line (None: not given). `file` is runner.toml; None
    looks for it in the current folder (or where RUNNER_CONFIG says). Raises `UsageError` for an
    unknown key, an unreadable value, or one out of bounds, and names the layer it came from.
    """
    env = dict(os.environ if environ is None else environ)
    table, path = _file(file, env)
    values: dict[str, Value] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        value, source = _pick(setting, flags, env, table, path)
        values["with_" if setting.name == "with" else setting.name] = value
        sources[setting.name] = source
    if values["db"] is None:
        values["db"] = "runner-simulated.db" if values["simulate"] else "runner.db"
    settings = _settings(values, env, sources)
    settings.failures_limit()
    return settings


def from_keywords(
    given: Mapping[str, object], environ: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings that a program gives by name; None is not given.

    RUNNER_ variables and runner.toml are not read: a program does what it says, wherever it runs.
    Keys, base URLs and proxies come from the environment as ever. `with` is `with_` here. Raises
    `TypeError` for an unknown name, `UsageError` for a value of another kind or out of bounds.
    """
    env = dict(os.environ if environ is None else environ)
    kept = {name: text for name, text in env.items() if not name.startswith("RUNNER_")}
    return load(_by_name(given), {**kept, "RUNNER_CONFIG": os.devnull})


def with_keywords(
    given: Mapping[str, object], environ: Mapping[str, str] | None = None
) -> Settings:
    """Return the same, with variables and runner.toml below what is given, as the commands have."""
    return load(_by_name(given), environ)


def _by_name(given: Mapping[str, object]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, value in given.items():
        setting = BY_NAME.get("with" if name == "with_" else name)
        if setting is None or name == "with":
            known = tuple("with_" if known == "with" else known for known in BY_NAME)
            raise TypeError(f"{name}: no such setting; {nearest(name, known)}".rstrip(" ;"))
        if isinstance(value, os.PathLike):
            values[setting.name] = _from_toml(setting, os.fspath(value), name)
        elif isinstance(value, tuple):
            values[setting.name] = _from_toml(setting, list(value), name)
        elif value is not None:
            values[setting.name] = _from_toml(setting, value, name)
    return values


def _settings(
    values: Mapping[str, Value], env: Mapping[str, str], sources: Mapping[str, str]
) -> Settings:
    known = {f.name for f in fields(Settings)} - {"environ", "sources"}
    given = {name: value for name, value in values.items() if name in known}
    return Settings(**given, environ=env, sources=sources)  # type: ignore[arg-type] # each value was read by its setting's kind


def _pick(
    setting: Setting,
    flags: Mapping[str, Value],
    env: Mapping[str, str],
    table: Mapping[str, object],
    path: str,
) -> tuple[Value, str]:
    flag = flags.get(setting.name)
    if flag is not None and flag != ():
        return _checked(setting, flag, setting.flag), setting.flag
    if setting.variable in env:
        text = env[setting.variable]
        return _from_text(setting, text, setting.variable), setting.variable
    if setting.name in table:
        where = f"{path}: {setting.name}"
        return _from_toml(setting, table[setting.name], where), where
    return setting.default, "default"


def _from_text(setting: Setting, text: str, where: str) -> Value:
    if setting.many:
        return _checked(setting, parted(text), where)
    if setting.kind is bool:
        word = text.strip().lower()
        if word in ("1", "true", "yes", "on"):
            return True
        if word in ("", "0", "false", "no", "off"):
            return False
        raise UsageError(f"{quoted(text)} is neither yes nor no", where=where, remedy="use 1 or 0")
    if setting.kind in (int, float):
        return _checked(setting, _number(setting, text, where), where)
    return _checked(setting, text, where)


def _number(setting: Setting, text: str, where: str) -> int | float:
    read: Callable[[str], int | float] = int if setting.kind is int else float
    try:
        return read(text.strip())
    except ValueError:
        kind = "whole number" if setting.kind is int else "number"
        raise UsageError(
            f"{quoted(text)} is no {kind}", where=where, remedy=f"give a {kind}"
        ) from None


def _from_toml(setting: Setting, value: object, where: str) -> Value:
    if setting.many and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return _checked(setting, tuple(value), where)
    if setting.many and isinstance(value, str):
        return _checked(setting, (value,), where)
    if setting.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return _checked(setting, float(value), where)
    if setting.name == "max_failures" and isinstance(value, int):
        return _checked(setting, str(value), where)
    fits = isinstance(value, setting.kind) and isinstance(value, bool) == (setting.kind is bool)
    if fits and isinstance(value, (str, int, float, bool)):
        return _checked(setting, value, where)
    raise UsageError(
        f"{quoted(value)} is not of the kind {setting.kind.__name__}",
        where=where,
        remedy=f"see `runner run --help`: {setting.meaning}",
    )


def _checked(setting: Setting, value: Value, where: str) -> Value:
    unit = f" {setting.unit}" if setting.unit else ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isnan(value) or (setting.low is not None and value < setting.low):
            raise UsageError(
                f"{value:g} is below {setting.low:g}{unit}",
                where=where,
                remedy=f"give {setting.low:g}{unit} or more, or leave it out",
            )
        if setting.high is not None and value > setting.high:
            raise UsageError(
                f"{value:g} is above {setting.high:g}{unit}",
                where=where,
                remedy=f"give {setting.high:g}{unit} or less, or leave it out",
            )
    given = value if isinstance(value, tuple) else (value,)
    if setting.words:
        parts = [p for v in given if isinstance(v, str) for p in v.split(",")]
        for part in parts:
            if part not in setting.words:
                raise UsageError(
                    f"{quoted(part)} is not known",
                    where=where,
                    remedy=f"{nearest(part, setting.words)}use {', '.join(setting.words)}",
                )
        if setting.many:
            return tuple(dict.fromkeys(parts))
    return value


def nearest(name: str, known: Sequence[str]) -> str:
    """Return "did you mean X? " for the nearest known name, or ""."""
    found = difflib.get_close_matches(name, known, 1)
    return f"did you mean {found[0]}? " if found else ""


def _file(file: Path | None, env: Mapping[str, str]) -> tuple[Mapping[str, object], str]:
    named = file or (Path(env["RUNNER_CONFIG"]) if env.get("RUNNER_CONFIG") else None)
    path = named or Path("runner.toml")
    try:
        table: Mapping[str, object] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}, ""
        raise UsageError("no such file", where=str(path), remedy="check RUNNER_CONFIG") from None
    except (OSError, UnicodeDecodeError) as trouble:
        raise UsageError(f"cannot be read: {trouble}", where=str(path)) from None
    except tomllib.TOMLDecodeError as trouble:
        raise UsageError(f"is no TOML: {trouble}", where=str(path)) from None
    for name in table:
        if name not in BY_NAME:
            raise UsageError(
                f"{name}: no such setting",
                where=str(path),
                remedy=f"{nearest(name, tuple(BY_NAME))}see `runner run --help`".strip(),
            )
    return table, str(path)


def as_variables(settings: Settings) -> dict[str, str]:
    """Return what was given as RUNNER_… variables, for a child process that shall go by the same."""
    variables: dict[str, str] = {}
    for setting in SETTINGS:
        value: Value = getattr(settings, "with_" if setting.name == "with" else setting.name)
        if value is None or value == () or not settings.given(setting.name):
            continue
        if isinstance(value, bool):
            variables[setting.variable] = "1" if value else "0"
        elif isinstance(value, tuple):
            variables[setting.variable] = joined(value)
        else:
            variables[setting.variable] = str(value)
    variables["RUNNER_DB"] = settings.db
    return variables


def joined(values: Sequence[str]) -> str:
    """Return values as one variable's text: between commas, or as JSON where those would not do."""
    text = ",".join(values)
    return text if parted(text) == tuple(values) else json.dumps(list(values))


def parted(text: str) -> tuple[str, ...]:
    """Return the values that stand in one variable's text, between commas or as a JSON list."""
    if text.startswith("["):
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            return tuple(values)
    return tuple(part.strip() for part in text.split(",") if part.strip())


def secret(settings: Settings, variables: Sequence[str]) -> Secret | None:
    """Return the API key: --api-key-file, else the dialect's variables; None where there is none.

    No key at all is allowed, for gateways that inject it.
    """
    if settings.api_key_file is not None:
        try:
            text = Path(settings.api_key_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as trouble:
            raise UsageError(
                f"cannot be read: {getattr(trouble, 'strerror', None) or 'not UTF-8'}",
                where=f"--api-key-file {settings.api_key_file}",
                remedy="give a file that holds the key alone",
            ) from None
        return Secret(_one_line(text, f"--api-key-file {settings.api_key_file}")) if text else None
    for variable in variables:
        text = settings.environ.get(variable, "").strip()
        if text:
            return Secret(_one_line(text, variable))
    return None


def _one_line(text: str, where: str) -> str:
    if not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
        raise UsageError(
            "the key holds white space or other characters that no header takes",
            where=where,
            remedy="give the key alone, on one line",
        )
    return text


SECRET_WORDS = ("authorization", "key", "token", "secret", "password", "cookie")


def extra_headers(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return the `--header`s; values of secret-looking ones must come from `env:NAME`."""
    result: list[tuple[str, str]] = []
    for text in settings.header:
        name, colon, value = text.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not name or any(c.isspace() for c in name) or "\n" in value:
            raise UsageError(
                f"{quoted(name or text)} is no header",
                where="--header",
                remedy="write 'Name: value'",
            )
        if value.startswith("env:"):
            variable = value[4:]
            if variable not in settings.environ:
                raise UsageError(
                    f"the variable {variable} is not set",
                    where=f"--header {name}",
                    remedy=f"set {variable} in the environment",
                )
            value = settings.environ[variable]
        elif any(word in name.lower() for word in SECRET_WORDS):
            raise UsageError(
                "a secret must not stand in an argument",
                where=f"--header {name}",
                remedy=f"write '{name}: env:VARIABLE' and set the variable",
            )
        result.append((name, value))
    return tuple(result)


def dialect_options(settings: Settings) -> dict[str, str]:
    """Return `--dialect-option NAME=VALUE`s as a mapping, with the tag's name among them."""
    options: dict[str, str] = {}
    for text in settings.dialect_option:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"{quoted(text)} is no option", where="--dialect-option", remedy="write NAME=VALUE"
            )
        options[name.strip()] = value
    return options
