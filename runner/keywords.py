"""The settings as the Python API takes them: keyword arguments with the names of the flags."""

import os
from collections.abc import Callable, Sequence
from typing import Literal, TypedDict


class Keywords(TypedDict, total=False):
    """Every setting that a program may give; what each means stands in `config.SETTINGS`.

    A dash is an underscore, and `--with` is `with_`. Left out, or None: the flag's default. What
    talks to a terminal or to worker processes is not here, nor `batch` and `strict`: a batch is
    named where jobs are given, and bad jobs are told there.
    """

    db: str | os.PathLike[str] | None
    base_url: str | None
    dialect: str | None
    dialect_option: Sequence[str] | None
    header: Sequence[str] | None
    rpm: float | None
    tpm: float | None
    read_rpm: float | None
    window: float | None
    concurrency: int | None
    processes: int | None
    priority: int | None
    stream: bool | None
    with_: Sequence[Literal["messages", "steps", "deltas"]] | None
    max_attempts: int | None
    timeout: float | None
    deadline: float | None
    retry_runs: int | None
    doubt_wait: float | None
    stale_wait: float | None
    lease: float | None
    on_doubt: Literal["hold", "resend"] | None
    look_first: bool | None
    tag: str | None
    polls: float | None
    tools: str | Callable[..., object] | None
    tools_timeout: float | None
    on_action: Literal["cancel", "hold", "fail"] | None
    max_failures: int | str | None
    stop_after: float | None
    grace: float | None
    simulate: bool | None
    simulator: Sequence[str] | None
    api_key_file: str | os.PathLike[str] | None
    http: Literal["auto", "httpx", "aiohttp"] | None
    longest_line: int | None
    lenient: bool | None
    replace: bool | None
    recheck: bool | None
