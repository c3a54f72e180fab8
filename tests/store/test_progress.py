"""Where a batch stands is read from kept counts, and they are what the rows say."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from store_book import Value, begin, line, queue, rows, working, write
from store_ends import OOPS, USAGE, create, fail, rest_in_doubt, sent, succeed

from runner.core.errors import UsageError
from runner.core.model import ApiError, JobState
from runner.core.moves import Acted, Created, Doubt, Evidence, Intend, Note, Postpone, held
from runner.core.progress import Cause
from runner.store import reads
from runner.store.store import Store


def test_progress_tells_counts_causes_tokens_and_who_works(store: Store) -> None:
    at = working(store, [line(n) for n in range(1, 9)])
    succeed(store, at.jobs[0])
    succeed(store, at.jobs[1])
    fail(store, at.jobs[2])
    fail(store, at.jobs[3])
    fail(store, at.jobs[4], error=None)
    rest_in_doubt(store, at.jobs[5])
    progress = store.progress(at.batch.id)
    assert progress.jobs == 8
    assert progress.of(JobState.QUEUED) == 2
    assert progress.of(JobState.SUCCEEDED) == 2
    assert progress.causes == (
        Cause("failed", "server_error", OOPS.message, 2),
        Cause("failed", "failed", "", 1),
        Cause("in_doubt", "in_doubt", "", 1),
    )
    assert progress.tokens == {
        "prompt": 50,
        "completion": 25,
        "total": 75,
        "cached": 10,
        "reasoning": 5,
    }
    assert progress.earlier_tokens == 0
    assert 0 < progress.first_ms <= progress.last_ms
    (worker,) = progress.workers
    assert (worker.id, worker.holds) == (at.me, 2)
    assert store.check() == []


def test_the_tokens_of_a_run_that_is_made_anew_are_earlier_ones(store: Store) -> None:
    at = working(store, [line(1)])
    fail(store, at.jobs[0], again=True)
    progress = store.progress(at.batch.id)
    assert progress.tokens["total"] == 0
    assert progress.earlier_tokens == USAGE.total
    assert progress.causes == ()
    assert store.check() == []


def test_doubts_doubles_and_foreign_runs_are_told(store: Store) -> None:
    at = working(store, [line(n) for n in range(1, 6)])
    first, second, third, fourth, _ = at.jobs
    write(store, Intend(held(first)), Doubt(sent(first), Evidence("hung_up")))
    create(store, second, doubles=("run_other",))
    write(store, Postpone(held(third), 1000, blocked_by="run_foreign"))
    create(store, fourth)
    write(store, Note(fourth.id, 1, 1, Evidence("noted", run_id=f"run_{fourth.custom_id}_1")))
    progress = store.progress(at.batch.id)
    assert progress.doubts == 1
    assert progress.doubles == 1, "a noted answer that names the job's own run is no double"
    assert progress.blocked_by == ((third.custom_id, "run_foreign"),)


def test_brief_progress_is_the_same_counts_and_nothing_else(store: Store) -> None:
    at = working(store, [line(n) for n in range(1, 4)])
    fail(store, at.jobs[0])
    store.set_batch(at.batch.id, stopped="interrupted")
    store.hear_lateness(at.batch.id, 7)
    store.hear_lateness(at.batch.id, 5)
    brief, whole = store.progress(at.batch.id, brief=True), store.progress(at.batch.id)
    assert brief.counts == whole.counts
    assert (brief.stopped, brief.lateness_ms) == ("interrupted", 7)
    assert brief.causes == ()


def test_no_part_of_progress_scans_the_jobs(ready_file: Path, tmp_path: Path) -> None:
    """On ten million jobs a scan would take seconds, a few times a second.

    On SQLite alone: PostgreSQL scans a small table whatever indexes it has.
    """
    store = Store.open(str(shutil.copy(ready_file, tmp_path / "plans.db")))
    binds = {"batch_id": begin(store).id, "most": 5}
    for statement, index in (
        (reads.BATCH, "PRIMARY KEY"),
        (reads.COUNTS, "sqlite_autoindex_tally_1"),
        (reads.DOUBTS, "job_doubt"),
        (reads.RESENT, "job_resent"),
        (reads.FOREIGN, "job_foreign"),
        (reads.DOUBLES, "attempt_told"),
    ):
        plan = " ".join(str(row[3]) for row in planned(store, statement.text, **binds))
        assert index in plan, plan
        assert "job_name" not in plan, plan
    plan = str(planned(store, reads.ASKED.text, worker="w")[0][3])
    assert "job_asked" in plan
    store.close()


def planned(store: Store, sql: str, **binds: Value) -> list[tuple[Value, ...]]:
    named = {name: value for name, value in binds.items() if f":{name}" in sql}
    return rows(store, f"EXPLAIN QUERY PLAN {sql}", **named)


def test_a_batch_that_is_not_there_is_told(store: Store) -> None:
    with pytest.raises(UsageError, match="no batch number 12"):
        store.progress(12)


def test_sources_are_the_manifests_in_the_order_of_queueing(store: Store) -> None:
    batch = begin(store)
    queue(store, batch, [line(1)], path="b.jsonl")
    queue(store, batch, [line(2)], path="a.jsonl")
    queue(store, batch, [line(1)], path="b.jsonl")
    assert store.sources(batch.id) == ["b.jsonl", "a.jsonl"]


def test_a_late_answer_is_told_to_who_looks_for_the_run(store: Store) -> None:
    (job,) = working(store, [line(1)]).jobs
    write(store, Intend(held(job)), Doubt(sent(job), Evidence("hung_up")))
    assert store.noted(job.id, 1) == ""
    write(store, Note(job.id, 1, 1, Evidence("noted", run_id="run_late")))
    assert store.noted(job.id, 1) == "run_late"
    assert store.noted(job.id, 2) == ""
    write(store, Created(sent(job), "run_late", Evidence("noted"), adopted=True))
    assert store.noted(job.id, 1) == "", "the job has it"


def test_known_runs_and_outputs_are_of_the_job_alone(store: Store) -> None:
    one, other = working(store, [line(1), line(2)]).jobs
    fail(store, one, again=True)
    at = create(store, other)
    assert store.known_runs(one.id) == {"run_q-0001_1"}
    assert store.known_runs(other.id) == frozenset()
    write(store, Acted(at, b'{"call_1": "42"}'))
    assert store.outputs(other.id, 1) == {"call_1": "42"}
    assert store.outputs(other.id, 2) == {}


def test_what_is_held_and_not_carried_is_given_back_closed(store: Store) -> None:
    at = working(store, [line(1), line(2), line(3)])
    first, second, third = at.jobs
    write(store, Intend(held(first)))
    store.give_back(at.me, [(first.id, first.token), (second.id, second.token + 1)])
    held_now = store.held_by(at.me)
    assert held_now == [(second.id, second.token), (third.id, third.token)], "another token stays"
    (row,) = rows(
        store,
        "SELECT state, worker, token, doubted, clock_closed_ms > 0 FROM job WHERE id = :id",
        id=first.id,
    )
    assert row[:4] == (1, None, first.token + 1, 1)
    assert row[4], "nobody sends, so the wait begins"
    (evidence,) = rows(store, "SELECT why FROM attempt WHERE job_id = :id", id=first.id)
    assert evidence == ("hung_up",)


def test_a_worker_hears_which_of_its_jobs_are_to_be_cancelled(store: Store) -> None:
    at = working(store, [line(1), line(2)])
    create(store, at.jobs[0])
    store.cancel(at.batch.id)
    assert store.asked(at.me) == [job.id for job in at.jobs]
    assert store.asked("another") == []


def test_causes_are_counted_by_code_and_not_by_text(store: Store) -> None:
    """Texts name runs and times: counted by them, each failure would be a cause of its own."""
    at = working(store, [line(n) for n in range(1, 4)])
    for number, job in enumerate(at.jobs):
        fail(store, job, error=ApiError(code="rate_limit_exceeded", message=f"run {number}"))
    assert store.progress(at.batch.id).causes == (
        Cause("failed", "rate_limit_exceeded", "run 0", 3),
    )


def test_a_reading_waits_for_nobody_who_writes(open_store: Callable[[], Store]) -> None:
    store = open_store()
    at = working(store, [line(1)])

    def jobs_meanwhile() -> int:
        return store.call(
            lambda: store._writer.transact(
                lambda connection: (
                    connection.execute(text("UPDATE job SET line = 2")),
                    store.progress(at.batch.id).jobs,
                )[1]
            )
        )

    assert jobs_meanwhile() == 1
