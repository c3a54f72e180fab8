"""Run migrations on the connection and in the transaction that the store hands in."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel import AutoString

from runner.store.tables import METADATA


def render(kind: str, thing: object, _context: AutogenContext) -> str | Literal[False]:
    """Write SQLModel's string type as SQLAlchemy's, so that a migration needs no sqlmodel."""
    if kind == "type" and isinstance(thing, AutoString):
        return f"sa.String({thing.length or ''})"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    render_item=render,
    compare_type=True,
    # The whole upgrade is one transaction of the caller's.
    transaction_per_migration=False,
)
context.run_migrations()
