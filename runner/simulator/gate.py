"""Who is let in: rolling limits of creates, tokens and reads, runs active at once, the quota."""

import math

import msgspec

from runner.simulator.audit import Audit
from runner.simulator.exchange import Asked, Headers
from runner.simulator.limits import Window, go_duration
from runner.simulator.refusals import Refusal
from runner.simulator.settings import Settings
from runner.simulator.world import World

AUDIT_WINDOW_S = 60.0


class _Sizes(msgspec.Struct):
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None


_SIZES = msgspec.json.Decoder(_Sizes)


def tokens(body: bytes) -> int:
    """Return what a create is charged: the bounds that it tells, else a quarter of its length."""
    try:
        said = _SIZES.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Sizes()
    return (said.max_prompt_tokens or -(-len(body) // 4)) + (said.max_completion_tokens or 0)


class Gate:
    """Admits or refuses; times are those of a clock that never goes back."""

    def __init__(self, world: World, audit: Audit) -> None:
        self._world = world
        self._audit = audit
        self._tokens = Window()
        self._reads = Window()

    def create(self, asked: Asked, at: float) -> Headers:
        """Let a create in and return the headers that tell of its limits; else raise 429."""
        settings, audit = self._world.settings, self._audit
        if settings.quota_after and audit.counts["creates"] + 1 >= settings.quota_after:
            raise Refusal(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
                kind="insufficient_quota",
                type_="insufficient_quota",
                code="insufficient_quota",
            )
        if settings.max_active and self._world.active >= settings.max_active:
            raise _too_many("Too many active runs.", "requests", settings, 1.0, ())
        window = audit.admitted
        # Without a limit too: the audit tells the most that came in any window.
        window.forget(at, settings.window)
        if settings.limit:
            self._requests(settings, at)
        if settings.token_limit:
            self._spend(settings, tokens(asked.body), at)
        window.add(at)
        return self._state(settings, at)

    def read(self, at: float) -> None:
        """Let a read in; else raise 429."""
        settings, window = self._world.settings, self._reads
        if settings.read_limit:
            window.forget(at, settings.window)
            wait_s = window.wait_s(at, settings.window, settings.read_limit)
            if wait_s:
                raise _too_many("Rate limit reached for reads.", "requests", settings, wait_s, ())
            window.add(at)

    def _requests(self, settings: Settings, at: float) -> None:
        wait_s = self._audit.admitted.wait_s(at, settings.window, settings.limit)
        if wait_s:
            state = self._state(settings, at)
            raise _too_many("Rate limit reached for requests.", "requests", settings, wait_s, state)

    def _spend(self, settings: Settings, amount: int, at: float) -> None:
        window = self._tokens
        window.forget(at, settings.window)
        wait_s = window.wait_s(at, settings.window, settings.token_limit, amount)
        if wait_s:
            said = f"Limit {settings.token_limit}, Used {window.used}, Requested {amount}."
            told = "Request too large." if wait_s == math.inf else "Rate limit reached for tokens."
            state = self._state(settings, at)
            raise _too_many(f"{told} {said}", "tokens", settings, wait_s, state)
        window.add(at, amount)

    def _state(self, settings: Settings, at: float) -> Headers:
        if settings.limit_headers != "full":
            return ()
        found: list[tuple[bytes, bytes]] = []
        for kind, limit, window in (
            (b"requests", settings.limit, self._audit.admitted),
            (b"tokens", settings.token_limit, self._tokens),
        ):
            if limit:
                reset = go_duration(window.reset_s(at, settings.window))
                found += (
                    (b"x-ratelimit-limit-" + kind, str(limit).encode()),
                    (b"x-ratelimit-remaining-" + kind, str(max(limit - window.used, 0)).encode()),
                    (b"x-ratelimit-reset-" + kind, reset.encode()),
                )
        return tuple(found)


def _too_many(
    message: str, type_: str, settings: Settings, wait_s: float, state: Headers
) -> Refusal:
    headers = state
    if settings.vague_429:
        message, type_ = "Too many requests.", "requests"
    if settings.limit_headers != "none" and wait_s != math.inf:
        # Whole seconds, at least 1, as the specification's 429 has it.
        headers = (*state, (b"retry-after", str(max(math.ceil(wait_s), 1)).encode()))
    return Refusal(
        429,
        message,
        kind="rate_limit_exceeded",
        type_=type_,
        code="rate_limit_exceeded",
        headers=headers,
    )
