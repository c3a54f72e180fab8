"""What is written down of one job that its carrier asks for: runs seen, outputs, wishes."""

from sqlalchemy import Connection, text

_NOTED = text(
    """
    SELECT run_id FROM attempt
    WHERE job_id = :job_id AND generation = :generation AND run_id <> ''
    ORDER BY id LIMIT 1
    """
)
_KNOWN_RUNS = text(
    """
    SELECT run_id FROM outcome WHERE job_id = :job_id AND run_id IS NOT NULL
    UNION SELECT run_id FROM job WHERE id = :job_id AND run_id IS NOT NULL
    UNION SELECT run_id FROM attempt WHERE job_id = :job_id AND run_id <> ''
    """
)
_OUTPUTS = text(
    "SELECT call_id, output FROM output WHERE job_id = :job_id AND generation = :generation"
)
_ASKED = text("SELECT id FROM job WHERE worker = :me AND cancel_asked = 1 ORDER BY id")


def noted(connection: Connection, job_id: int, generation: int) -> str:
    """Return the first run id that an attempt of a generation saw, or "" (row 16)."""
    binds = {"job_id": job_id, "generation": generation}
    return str(connection.scalar(_NOTED, binds) or "")


def known_runs(connection: Connection, job_id: int) -> frozenset[str]:
    """Return the ids of all runs of a job that the store knows, of every generation."""
    return frozenset(connection.scalars(_KNOWN_RUNS, {"job_id": job_id}))


def outputs(connection: Connection, job_id: int, generation: int) -> dict[str, str]:
    """Return the tool outputs computed so far, by call id."""
    binds = {"job_id": job_id, "generation": generation}
    return {row.call_id: row.output for row in connection.execute(_OUTPUTS, binds)}


def asked(connection: Connection, me: str) -> list[int]:
    """Return the jobs of a worker that a person wants cancelled."""
    return list(connection.scalars(_ASKED, {"me": me}))
