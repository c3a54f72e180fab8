"""Asking a server what it can prove, by one or two throw-away runs: `runner probe`."""

from collections.abc import Callable

import anyio
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from runner.core.call import Answer, Flow, Reply
from runner.core.errors import UsageError
from runner.core.keys import idempotency_key
from runner.core.model import Job, JobState, Kind, Proofs, Run
from runner.dialects.dialect import Dialect, Tag, UnreadableError
from runner.http.sender import Failed, Sender, drive

LAG_TRIES = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
REFUSALS = 3
_GOING = (Kind.ACTIVE, Kind.WAITS)


class Probed(Struct, frozen=True):
    """What a server showed. `lag_s`: until the list showed the new run; None: it never did.

    `limit_headers` are the names of rate-limit headers that came; `runs` what the probe left
    behind, `doubled` whether a repeat with the same key made a second run.
    """

    proofs: Proofs
    lag_s: float | None
    limit_headers: tuple[str, ...]
    runs: tuple[str, ...]
    thread_id: str
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what was found, a line each."""
        p = self.proofs
        lag = f", after {self.lag_s:.2f} s" if self.lag_s is not None else ""
        return [
            f"runs can be listed by thread: {_yes(p.lists)}{lag}",
            f"the tag comes back: {_yes(p.tags)}",
            f"the idempotency key is honoured: {_yes(p.keys)}",
            f"one active run a thread: {_yes(p.locks)}",
            f"rate-limit headers: {', '.join(self.limit_headers) or 'none'}",
            f"left behind: {', '.join(self.runs)} on thread {self.thread_id or '-'}",
            *self.notes,
        ]

    def as_json(self) -> str:
        """Return what was found as one JSON object."""
        return msgspec.json.encode(self).decode()


async def probe(  # noqa: C901 - one question after the other reads best straight down
    dialect: Dialect,
    sender: Sender,
    tag: Tag,
    job: Job,
    *,
    timeout_s: float,
    now: Callable[[], float],
) -> Probed:
    """Make one run, look for it, repeat its create with the same key, and cancel what is left.

    `job` is a made-up one whose key is fresh. Raises `UsageError` where not even the first run can
    be made, with the server's own words.
    """
    notes: list[str] = []
    seen: list[Reply] = []

    async def ask(flow: Flow[object]) -> object:
        def heard(answer: Answer) -> None:
            if isinstance(answer, Reply):
                seen.append(answer)

        return await drive(
            sender, flow, timeout_s=timeout_s, unreadable=UnreadableError, heard=heard
        )

    if dialect.makes_thread(job):
        made = await ask(dialect.make_thread(job, tag))
        if isinstance(made, Failed):
            raise _refused(dialect, made, "a thread")
        job = _with_thread(job, str(made))
    first = await ask(dialect.create(job, tag, stream=False))
    if not isinstance(first, Run):
        raise _refused(dialect, first, "a run")
    headers = tuple(
        sorted({n.lower() for r in seen for n in r.headers if "ratelimit" in n.lower()})
    )
    thread_id = job.thread_id or first.thread_id
    proofs, lag = Proofs(stateless=dialect.proofs.stateless), None
    listed: list[Run] = []
    if dialect.proofs.lists:
        listed, lag = await _until_listed(ask, dialect, thread_id, tag, first.id, now)
        proofs = replace(proofs, lists=lag is not None)
        tagged = any(run.id == first.id and run.tag == job.key for run in listed)
        # Seen while it went on: a list that shows runs only at their end would not have it.
        going = any(run.id == first.id and run.kind in _GOING for run in listed)
        proofs = replace(proofs, tags=tagged, at_end=dialect.proofs.at_end and not going)
        if lag is None:
            notes.append("the list did not show the new run")
    active = first.kind in _GOING
    again = await ask(dialect.create(job, tag, stream=False))
    runs = [first.id]
    if isinstance(again, Run):
        if again.id == first.id:
            proofs = replace(proofs, keys=True)
        else:
            runs.append(again.id)
            notes.append("a repeat with the same key made a second run")
            if not active:
                notes.append("the first run had ended, so the lock could not be tried")
    elif isinstance(again, Failed) and isinstance(again.answer, Reply):
        busy = dialect.active_run(again.answer)
        proofs = replace(proofs, locks=busy is not None)
        if busy is None:
            notes.append(f"the repeat was answered with HTTP {again.answer.status}")
    for run_id in runs:
        await ask(dialect.cancel(thread_id, run_id, tag))
    return Probed(proofs, lag, headers, tuple(runs), thread_id, tuple(notes))


def _yes(proven: bool) -> str:  # noqa: FBT001 - a word for a fact
    return "yes" if proven else "no"


async def _until_listed(
    ask: Callable[[Flow[object]], object],
    dialect: Dialect,
    thread_id: str,
    tag: Tag,
    run_id: str,
    now: Callable[[], float],
) -> tuple[list[Run], float | None]:
    began = now()
    runs: list[Run] = []
    refusals = 0
    for pause in LAG_TRIES:
        await anyio.sleep(pause)
        got = await ask(dialect.runs_of(thread_id, 0.0, tag))  # type: ignore[misc] # an async function
        if isinstance(got, list):
            runs = got
            if any(run.id == run_id for run in runs):
                return runs, now() - began
        elif isinstance(got, Failed) and isinstance(got.answer, Reply):
            # A list that is refused three times is none; waiting longer would let the run end
            # before the lock can be tried.
            refusals += got.answer.status in (400, 403, 404, 405, 501)
            if refusals >= REFUSALS:
                break
    return runs, None


def _with_thread(job: Job, thread_id: str) -> Job:
    return replace(job, thread_id=thread_id, own_thread=True)


def _refused(dialect: Dialect, got: object, what: str) -> UsageError:
    said = "no answer"
    if isinstance(got, Failed):
        answer = got.answer
        if isinstance(answer, Reply):
            said = f"HTTP {answer.status}: {dialect.error_of(answer).message[:200]}"
        else:
            said = f"{answer.why} {answer.detail}".strip()
    return UsageError(
        f"the server would not make {what}: {said}",
        where="probe",
        remedy="check --base-url, the key and --assistant-id",
    )


def probe_job(dialect: str, assistant_id: str | None, chance: str) -> Job:
    """Return the made-up job that a probe sends; its key is made from `chance`.

    Raises `UsageError` where the dialect needs an assistant or model and none was given, or has no
    runs that could be probed.
    """
    if dialect == "request":
        raise UsageError(
            "a plain request proves nothing", where="--dialect", remedy="probe another dialect"
        )
    if not assistant_id:
        raise UsageError(
            "a throw-away run needs an assistant, an agent or a model",
            where="--assistant-id",
            remedy="name one that may be used for it",
        )
    body: dict[str, object] = {"assistant_id": assistant_id, "instructions": "Answer: ok."}
    if dialect == "langgraph":
        message = {"role": "user", "content": "Answer: ok."}
        body = {"assistant_id": assistant_id, "input": {"messages": [message]}}
    elif dialect == "responses":
        body = {"model": assistant_id, "input": "Answer: ok."}
    return Job(
        id=0,
        batch_id=0,
        custom_id="probe",
        state=JobState.QUEUED,
        generation=1,
        attempt=1,
        token=0,
        key=idempotency_key(chance, "probe", 1),
        thread_id=None,
        own_thread=False,
        lane=0,
        doubted=False,
        closed_ms=0,
        presumed=False,
        slow_close=False,
        first_intent_ms=0,
        cancel_asked=False,
        refusals=0,
        run_id=None,
        created_ms=0,
        body=msgspec.json.encode(body),
        extra=b"",
    )
