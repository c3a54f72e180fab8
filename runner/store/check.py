"""Whether the database is sound.

Each question below must find nothing. All are asked of one snapshot, so that workers may work.
"""

from sqlalchemy import Connection, text

MOST = 10
"""How many findings of a kind are told one by one."""

_INTEGRITY = text(f"PRAGMA integrity_check({MOST})")
_REFERENCES = text("PRAGMA foreign_key_check")

# Each returns (where, what is wrong there), a row a finding.
_QUESTIONS = {
    "jobs without a body": """
        SELECT custom_id, '' FROM job LEFT JOIN body ON body.job_id = job.id
        WHERE body.job_id IS NULL
    """,
    "bodies without a job": """
        SELECT CAST(job_id AS VARCHAR), '' FROM body LEFT JOIN job ON job.id = body.job_id
        WHERE job.id IS NULL
    """,
    "jobs at rest without an outcome": """
        SELECT custom_id, '' FROM job
        LEFT JOIN outcome o ON o.job_id = job.id AND o.generation = job.generation
        WHERE state >= 3 AND o.job_id IS NULL
    """,
    "jobs at rest whose status is not their outcome's": """
        SELECT custom_id, o.status FROM job
        JOIN outcome o ON o.job_id = job.id AND o.generation = job.generation
        WHERE state >= 3 AND (job.status IS NULL OR job.status <> o.status)
    """,
    "jobs on their way with an outcome": """
        SELECT custom_id, o.status FROM job
        JOIN outcome o ON o.job_id = job.id AND o.generation >= job.generation
        WHERE state < 3
    """,
    "jobs at rest that somebody holds, or that wait for a turn": """
        SELECT custom_id, COALESCE(worker, '') FROM job
        WHERE state >= 3 AND (worker IS NOT NULL OR blocked = 1)
    """,
    "jobs of no known state": "SELECT custom_id, '' FROM job WHERE state NOT BETWEEN 0 AND 5",
    "running jobs without a run": """
        SELECT custom_id, '' FROM job WHERE state = 2 AND run_id IS NULL
    """,
    "jobs held by a worker that is not there": """
        SELECT custom_id, worker FROM job
        WHERE worker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = job.worker)
    """,
    "jobs that wait for a turn that nobody has": """
        SELECT custom_id, COALESCE(thread_id, '') FROM job j
        WHERE blocked = 1 AND NOT EXISTS (
            SELECT 1 FROM job o WHERE o.origin = j.origin AND o.thread_id = j.thread_id
            AND o.idle_state < 3 AND o.blocked = 0 AND o.own_thread = 0
        )
    """,
    "threads in which two jobs may be sent": """
        SELECT thread_id, CAST(COUNT(*) AS VARCHAR) FROM job
        WHERE state < 2 AND blocked = 0 AND own_thread = 0 AND thread_id IS NOT NULL
        GROUP BY origin, thread_id HAVING COUNT(*) > 1
    """,
    "counts that are not the jobs'": """
        SELECT CAST(batch_id AS VARCHAR), CAST(state AS VARCHAR) || ' ' || status FROM (
            SELECT batch_id, state, status, jobs FROM tally
            UNION ALL
            SELECT batch_id, state, CASE WHEN state >= 3 THEN COALESCE(status, '') ELSE '' END,
                -COUNT(*)
            FROM job GROUP BY 1, 2, 3
        ) AS both_ways GROUP BY batch_id, state, status HAVING SUM(jobs) <> 0
    """,
    "causes that are not the jobs'": """
        SELECT CAST(batch_id AS VARCHAR), status FROM (
            SELECT batch_id, status, jobs FROM cause
            UNION ALL
            SELECT batch_id, COALESCE(status, ''), -COUNT(*) FROM job WHERE state = 4 GROUP BY 1, 2
        ) AS both_ways GROUP BY batch_id, status HAVING SUM(jobs) <> 0
    """,
    "tokens that are not the outcomes'": """
        SELECT CAST(batch_id AS VARCHAR), '' FROM (
            SELECT batch_id, total, earlier FROM spent
            UNION ALL
            SELECT j.batch_id,
                -SUM(CASE WHEN o.generation = j.generation THEN COALESCE(o.total_tokens, 0)
                    ELSE 0 END),
                -SUM(CASE WHEN o.generation < j.generation THEN COALESCE(o.total_tokens, 0)
                    ELSE 0 END)
            FROM outcome o JOIN job j ON j.id = o.job_id GROUP BY j.batch_id
        ) AS both_ways GROUP BY batch_id HAVING SUM(total) <> 0 OR SUM(earlier) <> 0
    """,
}


def check(connection: Connection) -> list[str]:
    """Return what is wrong with the database, a line a finding; empty where it is sound."""
    found: list[str] = []
    if connection.dialect.name == "sqlite":
        said = [str(line) for line in connection.scalars(_INTEGRITY)]
        found += [f"file: {line}" for line in said if line != "ok"]
        for table, row, parent, _number in connection.execute(_REFERENCES).fetchmany(MOST):
            found.append(f"{table}: row {row} names a row of {parent} that is not there")
    for what, question in _QUESTIONS.items():
        rows = connection.execute(text(question)).fetchmany(MOST + 1)
        found += [f"{what}: {where} {about}".rstrip() for where, about in rows[:MOST]]
        if len(rows) > MOST:
            found.append(f"{what}: and more")
    return found
