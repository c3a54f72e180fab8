"""How long a worker's lease is: its own word, since others may work under another.

Revision 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # 30 s is what a worker that was enlisted before this has, unless a person said otherwise.
    op.add_column(
        "worker", sa.Column("lease_ms", sa.BigInteger(), nullable=False, server_default="30000")
    )


def downgrade() -> None:
    op.drop_column("worker", "lease_ms")
