"""Jobs brought to their ends in a store, for tests of what is asked and commanded afterwards."""

from msgspec.structs import replace
from store_book import write

from runner.core.model import ApiError, Job, JobState, Reason, Usage
from runner.core.moves import Created, Doubt, Evidence, Held, Intend, Settle, held
from runner.store.store import Store

CREATED = Evidence("created", http_status=200, request_id="req_1")
HUNG_UP = Evidence("hung_up", detail="reset")
USAGE = Usage(prompt=10, completion=5, total=15, cached=2, reasoning=1)
OOPS = ApiError(code="server_error", message="the server had an error")


def sent(job: Job) -> Held:
    return replace(held(job), state=JobState.SUBMITTING, attempt=job.attempt + 1)


def followed(job: Job) -> Held:
    return replace(held(job), state=JobState.RUNNING, attempt=job.attempt + 1)


def create(store: Store, job: Job, *, doubles: tuple[str, ...] = ()) -> Held:
    """Bring a held queued job to running; its run is named after it."""
    run_id = f"run_{job.custom_id}_{job.generation}"
    moves = (Intend(held(job)), Created(sent(job), run_id, CREATED, doubles=doubles))
    assert write(store, *moves) == [True, True]
    return followed(job)


def succeed(store: Store, job: Job, *, doubles: tuple[str, ...] = ()) -> None:
    at = create(store, job, doubles=doubles)
    run = b'{"id": "run_%s_%d", "n": 1.10}' % (job.custom_id.encode(), job.generation)
    assert write(
        store,
        Settle(at, JobState.SUCCEEDED, "completed", run=run, usage=USAGE, output_text="done"),
    ) == [True]


def fail(store: Store, job: Job, *, error: ApiError | None = OOPS, again: bool = False) -> None:
    at = create(store, job)
    run = b'{"status": "failed"}'
    end = Settle(at, JobState.FAILED, "failed", run=run, error=error, usage=USAGE, again=again)
    assert write(store, end) == [True]


def rest_in_doubt(store: Store, job: Job) -> None:
    moves = (
        Intend(held(job)),
        Doubt(sent(job), HUNG_UP),
        Settle(sent(job), JobState.FAILED, Reason.IN_DOUBT),
    )
    assert write(store, *moves) == [True, True, True]
