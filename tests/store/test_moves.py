"""Every move wins on what it was decided on, and is refused on anything else."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from store_book import Working, counted, line, rows, tallied, working, write

from runner.core.model import ApiError, Job, JobState, Usage
from runner.core.moves import (
    Acted,
    Created,
    Doubt,
    Evidence,
    GiveBack,
    Held,
    Intend,
    Move,
    Note,
    Postpone,
    Requeue,
    Settle,
    Threaded,
    held,
)
from runner.core.states import ImpossibleError
from runner.store.claim import Want
from runner.store.store import Store

REFUSED = Evidence("refused", http_status=429)
UNSENT = Evidence("unsent")
HUNG_UP = Evidence("hung_up", detail="reset")
CREATED = Evidence("created", http_status=200, request_id="req_1")
SUBMITTING, RUNNING = JobState.SUBMITTING, JobState.RUNNING


def submitting(job: Job) -> Held:
    return replace(held(job), state=SUBMITTING, attempt=job.attempt + 1)


def running(job: Job) -> Held:
    return replace(held(job), state=RUNNING, attempt=job.attempt + 1)


def settled(at: Held, state: JobState = JobState.SUCCEEDED, status: str = "completed") -> Settle:
    return Settle(at, state, status)


MOVES: dict[str, tuple[list[Callable[[Held], Move]], Callable[[Held], Move]]] = {
    "threaded": ([], lambda at: Threaded(at, "thread_1")),
    "intend": ([], Intend),
    "postpone": ([], lambda at: Postpone(at, 10)),
    "requeue": ([Intend], lambda at: Requeue(at, REFUSED, 10)),
    "doubt": ([Intend], lambda at: Doubt(at, HUNG_UP)),
    "intend again": ([Intend, lambda at: Doubt(at, HUNG_UP)], Intend),
    "created": ([Intend], lambda at: Created(at, "run_1", CREATED)),
    "settle": ([Intend, lambda at: Created(at, "run_1", CREATED)], settled),
    "settle from queued": ([], lambda at: settled(at, JobState.FAILED, "rejected")),
    "acted": (
        [Intend, lambda at: Created(at, "run_1", CREATED)],
        lambda at: Acted(at, b'{"call_1": "4"}'),
    ),
    "again": (
        [Intend, lambda at: Created(at, "run_1", CREATED)],
        lambda at: Settle(at, JobState.FAILED, "expired", again=True),
    ),
    "give back": ([], GiveBack),
}


def now_held(store: Store, job: Job) -> Held:
    found = rows(
        store, "SELECT generation, attempt, state, token FROM job WHERE id = :id", id=job.id
    )
    generation, attempt, state, token = (int(value or 0) for value in found[0])
    return Held(job.id, job.batch_id, generation, attempt, list(JobState)[state], token)


@pytest.mark.parametrize("name", MOVES)
def test_a_move_wins_only_on_the_row_that_it_was_decided_on(name: str, store: Store) -> None:
    before, make = MOVES[name]
    work = working(store, [line(1), line(2)])
    job = work.jobs[0]
    for step in before:
        assert write(store, step(now_held(store, job))) == [True]
    at = now_held(store, job)
    for other in (
        replace(at, generation=at.generation + 1),
        replace(at, attempt=at.attempt + 1),
        replace(at, token=at.token - 1),
        replace(at, job_id=at.job_id + 1000),
    ):
        assert write(store, make(other)) == [False]
    store._write(lambda c: c.exec_driver_sql(f"UPDATE job SET state = 3 WHERE id = {job.id}"))
    assert write(store, make(at)) == [False]
    state = list(JobState).index(at.state)
    store._write(lambda c: c.exec_driver_sql(f"UPDATE job SET state = {state} WHERE id = {job.id}"))
    assert rows(store, "SELECT COUNT(*) FROM outcome") == [(0,)]
    assert write(store, make(at)) == [True]
    assert tallied(store) == counted(store)


def test_a_move_that_no_state_allows_is_a_bug_and_is_raised(store: Store) -> None:
    work = working(store, [line(1)])
    with pytest.raises(ImpossibleError):
        store.record(Created(held(work.jobs[0]), "run_1", CREATED), lambda _won: None)


def test_one_that_lost_among_many_that_won_loses_alone(store: Store) -> None:
    work = working(store, [line(number) for number in range(1, 31)])
    at = [held(job) for job in work.jobs]
    at[7] = replace(at[7], token=at[7].token - 1)
    at[19] = replace(at[19], generation=2)
    ends = write(store, *(Intend(one) for one in at))
    assert [place for place, won in enumerate(ends) if not won] == [7, 19]
    assert rows(store, "SELECT COUNT(*) FROM job WHERE state = 1 AND attempt = 1") == [(28,)]
    assert tallied(store) == counted(store)


def test_a_job_created_and_settled_in_one_group_rests(store: Store) -> None:
    work = working(store, [line(number) for number in range(1, 21)])
    assert all(write(store, *(Intend(held(job)) for job in work.jobs)))
    moves: list[Move] = []
    # The writer is kept busy, so that all of these fall into one group, the settles first.
    store.ask(lambda: rows(store, "SELECT COUNT(*) FROM job"), lambda _end: None)
    for job in work.jobs:
        moves += [Created(submitting(job), f"run_{job.id}", CREATED), settled(running(job))]
    assert all(write(store, *moves))
    found = rows(store, "SELECT state, status, run_id FROM job ORDER BY id")
    assert found == [(3, "completed", f"run_{job.id}") for job in work.jobs]
    assert rows(store, "SELECT COUNT(*) FROM outcome WHERE run_id IS NOT NULL") == [(20,)]


def test_two_moves_of_one_kind_for_one_job_are_two_transactions(store: Store) -> None:
    work = working(store, [line(1)])
    at = held(work.jobs[0])
    second = replace(at, state=SUBMITTING, attempt=1)
    ends = write(store, Intend(at), Doubt(second, HUNG_UP), Intend(second), Intend(second))
    assert ends == [True, True, True, False]
    assert rows(store, "SELECT attempt, doubted, clock_closed_ms FROM job") == [(2, 1, 0)]


def test_an_intent_writes_down_the_sender_and_the_first_time(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    assert write(store, Intend(held(job))) == [True]
    sender, first_ms, intent_ms = rows(
        store, "SELECT sender, first_intent_ms, intent_ms FROM job WHERE id = :id", id=job.id
    )[0]
    assert sender == work.me
    assert first_ms == intent_ms != 0
    assert write(store, Requeue(submitting(job), UNSENT, 0)) == [True]
    again = store.claim(work.me, [Want(work.batch.id, None, 1)])[0]
    assert (again.id, again.attempt, again.refusals) == (job.id, 1, 0)
    assert again.first_intent_ms == first_ms


def test_the_end_of_a_doubts_wait_never_moves(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, Intend(held(job)))
    assert write(store, Doubt(submitting(job), HUNG_UP, slow=True)) == [True]
    sql = "SELECT clock_closed_ms, doubted, slow_close, refusals FROM job WHERE id = :id"
    before = rows(store, sql, id=job.id)[0]
    assert before[1:] == (1, 1, 1)
    write(store, Doubt(submitting(job), HUNG_UP, slow=True, counted=False))
    assert rows(store, sql, id=job.id) == [before]


def test_a_settle_keeps_the_run_as_it_came(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, Intend(held(job)))
    write(store, Created(submitting(job), "run_1", CREATED, adopted=True, doubles=("run_2",)))
    end = Settle(
        running(job),
        JobState.FAILED,
        "failed",
        run=b'{"id": "run_1", "n": 1e400}',
        error=ApiError("server_error", "", "sorry"),
        http_status=200,
        usage=Usage(1, 2, 3),
        output_text="",
        possible_double=True,
    )
    assert write(store, end) == [True]
    found = rows(
        store,
        "SELECT status, run_id, run, error, prompt_tokens, total_tokens, output_text, attempts"
        " FROM outcome",
    )
    assert found == [
        (
            "failed",
            "run_1",
            b'{"id": "run_1", "n": 1e400}',
            '{"code": "server_error", "message": "sorry"}',
            1,
            3,
            "",
            1,
        )
    ]
    seen = rows(store, "SELECT why, run_id, sender FROM attempt ORDER BY id")
    assert seen == [("created", "run_1", work.me), ("double", "run_2", work.me)]
    assert rows(store, "SELECT possible_double, worker FROM job WHERE id = :id", id=job.id) == [
        (1, None)
    ]


def test_the_next_generation_keeps_the_earlier_run_and_starts_anew(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, Intend(held(job)))
    write(store, Doubt(submitting(job), HUNG_UP))
    write(store, Created(submitting(job), "run_1", CREATED))
    end = Settle(running(job), JobState.FAILED, "expired", again=True, again_delay_ms=0)
    assert write(store, end) == [True]
    assert rows(store, "SELECT generation, run_id, status FROM outcome") == [
        (1, "run_1", "expired")
    ]
    again = store.claim(work.me, [Want(work.batch.id, None, 1)])[0]
    assert (again.id, again.generation, again.attempt) == (job.id, 2, 0)
    assert (again.run_id, again.doubted, again.refusals, again.created_ms) == (None, False, 0, 0)
    assert again.key != job.key
    assert again.key.endswith("-2")
    assert tallied(store) == counted(store)


def test_who_let_go_of_a_job_writes_no_more(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    assert write(store, Postpone(held(job), 60_000, blocked_by="run_x")) == [True]
    assert write(store, Intend(held(job))) == [False]


def test_a_refused_job_that_a_person_wants_cancelled_rests(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, Intend(held(job)))
    store._write(lambda c: c.exec_driver_sql("UPDATE job SET cancel_asked = 1"))
    assert write(store, Requeue(submitting(job), REFUSED, 10)) == [True]
    assert rows(store, "SELECT state, status, worker FROM job WHERE id = :id", id=job.id) == [
        (5, "cancelled", None)
    ]
    assert rows(store, "SELECT status, attempts FROM outcome") == [("cancelled", 1)]
    assert tallied(store) == counted(store)


def test_no_further_generation_for_a_job_that_a_person_wants_cancelled(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, Intend(held(job)))
    write(store, Created(submitting(job), "run_1", CREATED))
    store._write(lambda c: c.exec_driver_sql("UPDATE job SET cancel_asked = 1"))
    end = Settle(running(job), JobState.FAILED, "expired", again=True)
    assert write(store, end) == [True]
    assert rows(store, "SELECT state, generation FROM job WHERE id = :id", id=job.id) == [(4, 1)]
    assert tallied(store) == counted(store)


def test_outputs_are_kept_once(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, Intend(held(job)))
    write(store, Created(submitting(job), "run_1", CREATED))
    assert write(store, Acted(running(job), b'{"call_1": "4", "call_2": ""}')) == [True]
    assert write(store, Acted(running(job), b'{"call_1": "5"}')) == [True]
    assert store.outputs(job.id, 1) == {"call_1": "4", "call_2": ""}


def test_a_late_answer_is_kept_whatever_the_row_says(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, GiveBack(held(job)))
    note = Note(job.id, 1, 1, Evidence("noted", run_id="run_late"))
    assert write(store, note, note) == [True, True]
    assert store.noted(job.id, 1) == "run_late"


def test_a_job_that_waits_though_a_run_of_it_is_known_looks_first_whoever_holds_it(
    store: Store,
) -> None:
    work = working(store, [line(1), line(2)])
    job, other = work.jobs
    # A failover lost the intent: the row is as it was claimed, and the answer comes all the same.
    assert write(store, Note(job.id, 1, 1, Evidence("noted", run_id="run_late"))) == [True]
    assert write(store, Note(other.id, 1, 1, Evidence("noted"))) == [True]
    assert write(store, Intend(held(job)), Intend(held(other))) == [False, True]
    claimed = {one.id: one for one in store.claim(work.me, [Want(work.batch.id, None, 99)])}
    again = claimed[job.id]
    assert (again.state, again.doubted) == (JobState.QUEUED, True)


def test_a_job_given_back_open_is_closed(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    write(store, Intend(held(job)))
    assert write(store, GiveBack(submitting(job))) == [True]
    adrift = store.claim_adrift(work.me, [work.batch.id], 10)
    assert [(one.id, one.doubted, one.closed_ms > 0) for one in adrift] == [(job.id, True, True)]


def test_all_is_called_back_in_one_call_a_group(store: Store) -> None:
    work = working(store, [line(number) for number in range(1, 11)])
    calls: list[int] = []

    def notify(ends: list[tuple[Callable[[bool], None], bool]]) -> None:
        calls.append(len(ends))
        for done, won in ends:
            done(won)

    store.on_committed(notify)
    assert all(write(store, *(Intend(held(job)) for job in work.jobs)))
    assert sum(calls) == 10


def test_a_verb_asked_for_runs_after_what_was_recorded(work: Working) -> None:
    store, job = work.store, work.jobs[0]
    ends: list[object] = []
    store.record(Intend(held(job)), ends.append)
    store.ask(lambda: now_held(store, job).state, ends.append)
    store.ask(lambda: 1 // 0, ends.append)
    store.call(lambda: None)
    assert ends[:2] == [True, SUBMITTING]
    assert isinstance(ends[2], ZeroDivisionError)


@pytest.fixture
def work(store: Store) -> Working:
    return working(store, [line(1)])
