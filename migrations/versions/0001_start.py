"""The first tables.

Revision 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempt",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("intent_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_ms", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("lateness_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("attempt_job", "attempt", ["job_id"], unique=False)
    op.create_index(
        "attempt_told",
        "attempt",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("why IN ('double', 'noted')"),
        postgresql_where=sa.text("why IN ('double', 'noted')"),
    )

    op.create_table(
        "batch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("dialect", sa.String(), nullable=False),
        sa.Column("base_url", sa.String(), nullable=False),
        sa.Column("origin", sa.Integer(), nullable=False),
        sa.Column("options", sa.String(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("queued_whole", sa.Boolean(), nullable=False),
        sa.Column("look_first", sa.Boolean(), nullable=False),
        sa.Column("stopped", sa.String(), nullable=False),
        sa.Column("blocked_since_ms", sa.BigInteger(), nullable=False),
        sa.Column("lateness_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "body",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("extra", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "budget",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("step", sa.Float(), nullable=False),
        sa.Column("tat", sa.Float(), nullable=False),
        sa.Column("closed_until", sa.Float(), nullable=False),
        sa.Column("closed_for", sa.Float(), nullable=False),
        sa.Column("closed_why", sa.String(), nullable=False),
        sa.Column("leased_at", sa.Float(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("lim", sa.Float(), nullable=True),
        sa.Column("win", sa.Float(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("others", sa.Float(), nullable=False),
        sa.Column("spread", sa.Float(), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("opened_seq", sa.BigInteger(), nullable=False),
        sa.Column("cut_at", sa.Float(), nullable=False),
        sa.Column("memory", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("budget_account", "budget", ["account", "kind"], unique=True)

    op.create_table(
        "cause",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "status", "code"),
    )
    op.create_table(
        "spent",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.BigInteger(), nullable=False),
        sa.Column("completion", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("cached", sa.BigInteger(), nullable=False),
        sa.Column("reasoning", sa.BigInteger(), nullable=False),
        sa.Column("earlier", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "origin",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("base_url", sa.String(), nullable=False),
        sa.Column("proofs", sa.String(), nullable=False),
        sa.Column("probed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("base_url"),
    )
    op.create_table(
        "outcome",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("run", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("messages", sa.LargeBinary(), nullable=True),
        sa.Column("steps", sa.LargeBinary(), nullable=True),
        sa.Column("deltas", sa.LargeBinary(), nullable=True),
        sa.Column("output_text", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "generation"),
    )
    op.create_table(
        "output",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "generation", "call_id"),
    )
    op.create_table(
        "tally",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "state", "status"),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("lock", sa.String(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("clock_beat_ms", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("wanting", sa.Integer(), nullable=False),
        sa.Column("accounts", sa.String(), nullable=False),
        sa.Column("batches", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("custom_id", sa.String(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("origin", sa.Integer(), nullable=False),
        sa.Column("thread_id", sa.String(), nullable=True),
        sa.Column("own_thread", sa.SmallInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=True),
        sa.Column("blocked", sa.SmallInteger(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("doubted", sa.SmallInteger(), nullable=False),
        sa.Column("presumed", sa.SmallInteger(), nullable=False),
        sa.Column("slow_close", sa.SmallInteger(), nullable=False),
        sa.Column("cancel_asked", sa.SmallInteger(), nullable=False),
        sa.Column("clock_not_before_ms", sa.BigInteger(), nullable=False),
        sa.Column("clock_closed_ms", sa.BigInteger(), nullable=False),
        sa.Column("intent_ms", sa.BigInteger(), nullable=False),
        sa.Column("first_intent_ms", sa.BigInteger(), nullable=False),
        sa.Column("queued_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("sender", sa.String(), nullable=True),
        sa.Column("blocked_by", sa.String(), nullable=True),
        sa.Column("possible_double", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batch.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "job_ended",
        "job",
        ["batch_id", "ended_ms", "id"],
        unique=False,
        sqlite_where=sa.text("state >= 3"),
        postgresql_where=sa.text("state >= 3"),
    )
    op.create_index(
        "job_asked",
        "job",
        ["worker", "cancel_asked"],
        unique=False,
        sqlite_where=sa.text("cancel_asked = 1 AND worker IS NOT NULL"),
        postgresql_where=sa.text("cancel_asked = 1 AND worker IS NOT NULL"),
    )
    op.create_index(
        "job_doubt",
        "job",
        ["batch_id"],
        unique=False,
        sqlite_where=sa.text("state = 1 AND clock_closed_ms > 0"),
        postgresql_where=sa.text("state = 1 AND clock_closed_ms > 0"),
    )
    op.create_index(
        "job_foreign",
        "job",
        ["batch_id"],
        unique=False,
        sqlite_where=sa.text("blocked_by IS NOT NULL"),
        postgresql_where=sa.text("blocked_by IS NOT NULL"),
    )
    op.create_index(
        "job_resent",
        "job",
        ["batch_id"],
        unique=False,
        sqlite_where=sa.text("possible_double > 0"),
        postgresql_where=sa.text("possible_double > 0"),
    )
    op.create_index(
        "job_adrift",
        "job",
        ["batch_id", "id"],
        unique=False,
        sqlite_where=sa.text("state IN (1, 2) AND worker IS NULL"),
        postgresql_where=sa.text("state IN (1, 2) AND worker IS NULL"),
    )
    op.create_index(
        "job_later",
        "job",
        ["batch_id", "clock_not_before_ms"],
        unique=False,
        sqlite_where=sa.text("state = 0 AND clock_not_before_ms > 0"),
        postgresql_where=sa.text("state = 0 AND clock_not_before_ms > 0"),
    )
    op.create_index("job_line", "job", ["batch_id", "source_id", "line"], unique=False)
    op.create_index("job_name", "job", ["batch_id", "custom_id"], unique=True)
    op.create_index(
        "job_next",
        "job",
        ["origin", "thread_id", "id"],
        unique=False,
        sqlite_where=sa.text("blocked = 1"),
        postgresql_where=sa.text("blocked = 1"),
    )
    op.create_index(
        "job_ready",
        "job",
        ["batch_id", "lane", "id"],
        unique=False,
        sqlite_where=sa.text(
            "state = 0 AND blocked = 0 AND clock_not_before_ms = 0 AND worker IS NULL"
        ),
        postgresql_where=sa.text(
            "state = 0 AND blocked = 0 AND clock_not_before_ms = 0 AND worker IS NULL"
        ),
    )
    op.create_index(
        "job_turn",
        "job",
        ["origin", "thread_id"],
        unique=False,
        sqlite_where=sa.text("state < 3 AND blocked = 0 AND own_thread = 0"),
        postgresql_where=sa.text("state < 3 AND blocked = 0 AND own_thread = 0"),
    )
    op.create_index(
        "job_worker",
        "job",
        ["worker"],
        unique=False,
        sqlite_where=sa.text("worker IS NOT NULL"),
        postgresql_where=sa.text("worker IS NOT NULL"),
    )

    op.create_table(
        "lane",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batch.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("lane_batch", "lane", ["batch_id", "number"], unique=True)

    op.create_table(
        "source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.Integer(), nullable=False),
        sa.Column("conflicts", sa.Integer(), nullable=False),
        sa.Column("vanished", sa.Integer(), nullable=False),
        sa.Column("queued_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batch.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("source_batch", "source", ["batch_id", "path"], unique=True)

    if op.get_bind().dialect.name == "postgresql":
        # Room beside each row: a move rewrites it there, and leaves the indexes of its unchanged
        # columns alone (performance.md section E: 46 % of updates against 1 %).
        op.execute("ALTER TABLE job SET (fillfactor = 75)")
        # Each job's row is rewritten a few times: the default of a fifth of the table would let
        # millions of dead rows gather before the first vacuum.
        op.execute(
            "ALTER TABLE job SET (autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"
        )
        op.execute("ALTER TABLE tally SET (fillfactor = 50, autovacuum_vacuum_threshold = 1000)")
        op.execute("ALTER TABLE spent SET (fillfactor = 50, autovacuum_vacuum_threshold = 1000)")


def downgrade() -> None:

    op.drop_table("source")

    op.drop_table("lane")

    op.drop_table("job")
    op.drop_table("worker")
    op.drop_table("tally")
    op.drop_table("spent")
    op.drop_table("cause")
    op.drop_table("output")
    op.drop_table("outcome")
    op.drop_table("origin")
    op.drop_table("meta")

    op.drop_table("budget")
    op.drop_table("body")
    op.drop_table("batch")

    op.drop_table("attempt")
