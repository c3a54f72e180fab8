"""All that can be set, at the start by flags and later by `POST /_set` with the same names."""

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec

from runner.simulator.fates import ENDS
from runner.simulator.faults import FAULTS
from runner.simulator.spread import spread

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server does; a flag `--list-lag 0.5` is the field `list_lag`.

    Durations are in seconds, shares between 0 and 1; a count of 0 means "no limit".
    """

    seed: int = 1
    dialect: Literal["openai", "langgraph"] = "openai"  # whose `/threads` are served
    duration: str = "lognormal:0.5:0.4"  # of a run's life, queued to its end
    latency: str = "0"  # of each HTTP answer
    expires_after: Seconds = 600.0  # api-facts 2: samples say 600 s; 0: never, expires_at null
    cancel_lag: Seconds = 0.1  # from the cancel to the status cancelled
    fate: dict[str, Share] = {}
    faults: dict[str, Share] = {}
    faults_on: Literal["creates", "reads", "all"] = "creates"
    stall: Seconds = 30.0
    late: Seconds = 1.0
    repeat_after: Seconds = 0.0
    close_idle: Seconds = 0.0
    retry_after: str = "1"  # verbatim, so that nonsense can be sent too
    quota_after: Count = 0
    limit: Count = 0
    window: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    limit_headers: Literal["full", "retry-after", "none"] = "full"
    token_limit: Count = 0
    read_limit: Count = 0
    max_active: Count = 0
    vague_429: bool = False
    list_lag: Seconds = 0.0
    read_lag: Seconds = 0.0
    poll_after_ms: Count = 0
    stream_drop: Share = 0.0
    no_list: bool = False
    no_tags: bool = False
    no_lock: bool = False
    keys: bool = False
    strict_threads: bool = False
    strict_headers: bool = False
    key: str = ""
    tag: str = "runner_key"
    keep: Annotated[int, msgspec.Meta(ge=1)] = 200_000


def checked(values: dict[str, object]) -> Settings:
    """Return the settings made of `values`; ValueError names what is wrong and what is right."""
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    spread(settings.duration)
    spread(settings.latency)
    _known("fate", settings.fate, ENDS)
    _known("faults", settings.faults, FAULTS)
    return settings


def changed(settings: Settings, changes: dict[str, object]) -> Settings:
    """Return `settings` with `changes` by name; ValueError as in `checked`."""
    return checked({**msgspec.structs.asdict(settings), **changes})


def _known(field: str, shares: dict[str, float], names: Collection[str]) -> None:
    for name in shares:
        if name not in names:
            raise ValueError(
                f"{field}: {name[:60]!r} is unknown; known: {', '.join(sorted(names))}"
            )
    if sum(shares.values()) > 1:
        raise ValueError(f"{field}: the shares add up to more than 1")
