"""How much room the database takes, and giving back what it does not need."""

from sqlalchemy import Connection, text

from runner.store.place import Place

_SIZE = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}


def size(connection: Connection) -> int:
    """Return how many bytes the database takes."""
    return int(connection.execute(_SIZE[connection.dialect.name]).scalar_one())


def vacuuming(place: Place) -> str:
    """Return the statement that gives room back, outside any transaction."""
    if place.engine_name == "sqlite":
        return "VACUUM"
    from runner.store.tables import METADATA  # noqa: PLC0415 - the models, only for this command

    # Ours alone: of the server's own tables it would warn anybody but the server's owner.
    return f"VACUUM (ANALYZE) {', '.join(METADATA.tables)}"
