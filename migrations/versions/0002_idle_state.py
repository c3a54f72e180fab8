"""A job's state as its indexes see it: -1 while a worker holds the job.

What a worker does to a job that it holds then changes no index. On PostgreSQL this writes the whole
table anew, with room beside each row for its next version.

Revision 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BEFORE = {
    "job_ready": (
        ["batch_id", "lane", "id"],
        "state = 0 AND blocked = 0 AND clock_not_before_ms = 0 AND worker IS NULL",
    ),
    "job_later": (
        ["batch_id", "clock_not_before_ms"],
        "state = 0 AND clock_not_before_ms > 0",
    ),
    "job_turn": (
        ["origin", "thread_id"],
        "state < 3 AND blocked = 0 AND own_thread = 0",
    ),
    "job_adrift": (["batch_id", "id"], "state IN (1, 2) AND worker IS NULL"),
    "job_ended": (["batch_id", "ended_ms", "id"], "state >= 3"),
    "job_doubt": (["batch_id"], "state = 1 AND clock_closed_ms > 0"),
}
AFTER = {
    "job_ready": "idle_state = 0 AND blocked = 0 AND clock_not_before_ms = 0",
    "job_later": "idle_state = 0 AND clock_not_before_ms > 0",
    "job_turn": "idle_state < 3 AND blocked = 0 AND own_thread = 0",
    "job_adrift": "idle_state IN (1, 2)",
    "job_ended": "idle_state >= 3",
    "job_doubt": "idle_state < 3 AND clock_closed_ms > 0",
}


def upgrade() -> None:
    for name in BEFORE:
        op.drop_index(name, "job")
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        # All rows of a page are claimed together: each next version finds room beside the last.
        op.execute("ALTER TABLE job SET (fillfactor = 50)")
    # Stored where an index needs it; SQLite adds no stored column to a table, and needs none.
    idle = sa.Computed("CASE WHEN worker IS NULL THEN state ELSE -1 END", persisted=postgresql)
    op.add_column("job", sa.Column("idle_state", sa.SmallInteger(), idle))
    for name, where in AFTER.items():
        _index(name, where)


def downgrade() -> None:
    for name in BEFORE:
        op.drop_index(name, "job")
    op.drop_column("job", "idle_state")
    for name, (_, where) in BEFORE.items():
        _index(name, where)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE job SET (fillfactor = 75)")


def _index(name: str, where: str) -> None:
    columns, _ = BEFORE[name]
    op.create_index(
        name, "job", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
