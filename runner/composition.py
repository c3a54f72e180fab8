"""The composition root: what settings are made into, once, and handed down.

The one place that makes a clock, a random generator, a sender and a store.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from hashlib import blake2b
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from runner import __version__
from runner.config import Settings, dialect_options, extra_headers, secret
from runner.core.batch import Batch
from runner.core.breaker import Breaker
from runner.core.errors import UsageError
from runner.core.following import polls_a_run
from runner.core.lateness import raised_wait_s
from runner.core.model import Proofs
from runner.core.points import Reach, pass_by
from runner.core.retry import RetryPolicy
from runner.core.view import View
from runner.dialects.dialect import Dialect, Tag
from runner.dialects.named import named
from runner.http.open import open_sender
from runner.http.proxies import Proxies
from runner.http.route import check_base_url
from runner.http.sender import Sender
from runner.simulator.started import StartedSimulator
from runner.store.engine import FULL
from runner.store.place import place_of
from runner.store.store import Store
from runner.work.budgets import Budgets
from runner.work.carried import Assignment
from runner.work.policy import OnAction, OnDoubt, ToolFunction, WorkPolicy
from runner.work.tools import load_tools

SIMULATED = "simulate:"
"""The base URL of a rehearsal's batch: the simulator's port changes, the batch does not."""


def wall_s() -> float:
    """Return unix time: for people and for servers' clocks, never to measure a wait."""
    return time.time()  # noqa: TID251 - the clock is made here


def boottime() -> float:
    """Return seconds on a clock that counts suspend (protocol.md 4, 7)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


class Talk(Struct):
    """Where the work says what it does; the command line draws it."""

    warn: Callable[[str], None] = lambda _line: None
    tick: Callable[[View], None] = lambda _view: None
    every_s: float = 0.5


class Composition:
    """One set of settings and what is made of it, opened when first needed (a context manager).

    `patient`: whether opening waits for a database that is not there yet. `simulator` is the one
    that a rehearsal started, None outside `serving`. `tools` goes before the setting's function.
    """

    def __init__(
        self, settings: Settings, *, talk: Talk | None = None, reach: Reach = pass_by
    ) -> None:
        self.settings = settings
        self.talk = talk or Talk()
        self.reach = reach
        self.rng = random.Random()
        self.patient = False
        self.tools: ToolFunction | None = None
        self.simulator: StartedSimulator | None = None
        self._stack = ExitStack()
        self._store: Store | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def store(self) -> Store:
        """The database, opened and migrated on first use."""
        if self._store is None:
            self._store = Store.open(
                self.settings.db,
                reach=self.reach,
                on_trouble=self._tell_trouble,
                patient=self.patient,
            )
            self._stack.callback(self._store.close)
        return self._store

    def _tell_trouble(self, line: str) -> None:
        # A child meets the trouble that its parent meets, and the parent tells of it: all but the
        # want of another connection.
        if not self.settings.child or FULL in line:
            self.talk.warn(line)

    def dialect(self, name: str | None = None, tag: str | None = None) -> Dialect:
        """The dialect of the settings, or of a batch that keeps its own (and its tag)."""
        return named(name or self.settings.dialect, self.dialect_options(tag))

    def dialect_options(self, tag: str | None = None) -> dict[str, str]:
        """The options of the settings' dialect, with a batch's own tag."""
        options = dialect_options(self.settings)
        options.setdefault("tag", self.settings.tag if tag is None else tag)
        return options

    def base_url(self, dialect: Dialect) -> str:
        """The base URL in force for new batches; raises `UsageError` where there is none."""
        settings = self.settings
        if settings.simulate:
            return SIMULATED
        given = settings.base_url
        for variable in dialect.url_variables:
            given = given or settings.environ.get(variable, "").strip() or None
        given = given or dialect.base_url
        if given is None:
            raise UsageError(
                f"the dialect {dialect.name} has no base URL of its own since OpenAI's Assistants "
                "endpoint was switched off on 2026-08-26"
                if dialect.name.startswith("openai")
                else f"the dialect {dialect.name} needs a base URL",
                where="--base-url",
                remedy="give the URL of a compatible server, or --dialect azure, langgraph or "
                "responses, or rehearse with --simulate",
            )
        url = check_base_url(given)
        if "//api.openai.com" in url and dialect.name.startswith("openai"):
            self.talk.warn(
                "api.openai.com answers 404 to this API since 2026-08-26; use --dialect responses"
            )
        return url

    def must_be_there(self) -> None:
        """Raise `UsageError` where the database is a file that opening it would make."""
        path = place_of(self.settings.db).path
        if path is not None and not path.exists():
            raise UsageError(
                "there is no such file", where=str(path), remedy="correct --db, or queue jobs first"
            )

    def upgrade(self) -> Store:
        """Return the database, opened with its tables brought up to date."""
        self._store = Store.open(self.settings.db, reach=self.reach, upgrade=True)
        self._stack.callback(self._store.close)
        return self._store

    def budgets(self) -> Budgets:
        """Return the gates of this process to the budgets that all share."""
        return Budgets(
            self.store,
            rpm=self.settings.rpm,
            read_rpm=self.settings.read_rpm,
            tpm=self.settings.tpm,
            window_s=self.settings.window,
            rng=self.rng,
            warn=self.talk.warn,
        )

    def assignment(
        self, batch: Batch, policy: WorkPolicy, budgets: Budgets, stack: AsyncExitStack
    ) -> Assignment:
        """Return a batch with all that working on it needs; its sender is closed by `stack`."""
        dialect = self.dialect(batch.dialect, batch.tag)
        base = self._url_of(batch)
        key = None if batch.base_url == SIMULATED else secret(self.settings, dialect.key_variables)
        sender = self.sender(dialect, base, key.reveal() if key else None)
        stack.push_async_callback(sender.aclose)
        if self.settings.look_first:
            batch = replace(batch, look_first=True)
        proofs = batch.proofs or dialect.proofs
        account = account_of(batch.base_url, key.reveal() if key else "")
        return Assignment(
            batch,
            account,
            dialect,
            sender,
            Tag(batch.tag),
            proofs,
            resends(self.settings.on_doubt, proofs),
            Breaker(policy.max_failures, policy.max_failed_share),
            budgets.gate(account, "creates"),
            budgets.gate(account, "reads"),
            budgets.tokens(account),
            raised_wait_s(policy.doubt_wait_s, batch.lateness_ms / 1000),
            lateness_s=batch.lateness_ms / 1000,
        )

    def check_fits(self, batch: Batch) -> None:
        """Raise `UsageError` where these settings cannot work on a batch."""
        self.dialect(batch.dialect, batch.tag)
        self._url_of(batch)

    def _url_of(self, batch: Batch) -> str:
        """Return where a batch's requests go; a rehearsal's to the simulator, and no other's."""
        simulator = self.simulator.url if self.simulator else self.settings.simulator_url
        rehearses = bool(simulator) or self.settings.simulate
        if batch.base_url != SIMULATED:
            if rehearses:
                raise UsageError(
                    f"batch {batch.name} is no rehearsal",
                    where="--simulate",
                    remedy="leave --simulate out to go on with it",
                )
            return batch.base_url
        if not simulator:
            raise UsageError(
                f"batch {batch.name} is a rehearsal",
                where="--simulate",
                remedy="give --simulate to go on with it",
            )
        return simulator

    def sender(self, dialect: Dialect, base: str, key: str | None) -> Sender:
        """Return a sender for a base URL with the settings' headers, proxies and certificates."""
        settings, env = self.settings, self.settings.environ
        proxies = Proxies(
            env.get("http_proxy", ""),
            env.get("https_proxy") or env.get("HTTPS_PROXY", ""),
            tuple((env.get("no_proxy") or env.get("NO_PROXY", "")).split(",")),
        )
        return open_sender(
            settings.http,  # type: ignore[arg-type] # one of its words: config checked
            base_url=base,
            headers=(*dialect.headers(key), *extra_headers(settings)),
            proxies=Proxies() if settings.simulate else proxies,
            cert_file=env.get("SSL_CERT_FILE", ""),
            cert_dir=env.get("SSL_CERT_DIR", ""),
            longest_s=settings.timeout,
        )

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Have the simulator up while a rehearsal works."""
        if not self.settings.simulate:
            yield
            return
        try:
            simulator = StartedSimulator(
                memory_of(self.store, self.settings.db), self.settings.simulator
            )
        except OSError as trouble:
            raise UsageError(str(trouble), where="--simulate") from None
        with simulator:
            self.simulator = simulator
            yield
        self.simulator = None


def pasted(db: str) -> str:
    """Return a database's address as a command may show it: without what is secret."""
    try:
        return place_of(db).again
    except UsageError:
        return "postgresql://***"


def memory_of(store: Store, db: str) -> str:
    """Return the file that a rehearsal's simulator remembers its runs in: beside the database.

    For one on a server it is in the working folder, named for the database by its own id: it has
    many addresses, and some hold a password.
    """
    place = place_of(db)
    if place.engine_name == "sqlite":
        return f"{place.label}.simulator.jsonl"
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", place.url.database or "postgresql")
    return f"{name}-{store.own_id()}.simulator.jsonl"


def policy_of(settings: Settings) -> WorkPolicy:
    """Return how a pool works under these settings."""
    failures, share = settings.failures_limit()
    return WorkPolicy(
        concurrency=settings.concurrency,
        retry=RetryPolicy(max_attempts=settings.max_attempts),
        timeout_s=settings.timeout,
        doubt_wait_s=settings.doubt_wait,
        stale_wait_s=settings.stale_wait,
        lease_s=settings.lease,
        margin_s=settings.lease / 3,
        on_doubt=OnDoubt(settings.on_doubt) if settings.on_doubt else None,
        deadline_s=settings.deadline,
        retry_runs=settings.retry_runs,
        stream=settings.stream,
        beside=frozenset(settings.with_),
        polls_a_run=polls_a_run(settings.polls, settings.read_rpm, settings.rpm or 0.0),
        on_action=OnAction(settings.on_action),
        tools=load_tools(settings.tools) if settings.tools else None,
        tools_timeout_s=settings.tools_timeout,
        grace_s=settings.grace,
        stop_after_s=settings.stop_after,
        max_failures=failures,
        max_failed_share=share,
        version=__version__,
    )


def resends(on_doubt: str | None, proofs: Proofs) -> bool:
    """Whether a doubt that no look can settle is sent again: asked for, or nothing can be left."""
    return on_doubt == "resend" or (on_doubt is None and proofs.stateless)


def account_of(base_url: str, key: str) -> str:
    """Return the API account's name: base URL and the key's fingerprint, never the key."""
    mark = (
        blake2b(key.encode(), digest_size=6, person=b"runner-account").hexdigest() if key else "-"
    )
    return f"{base_url} {mark}"
