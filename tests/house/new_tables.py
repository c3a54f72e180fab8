"""The tables of a new SQLite database, drawn from the migrations, and the one way to draw them anew.

python tests/house/new_tables.py        # after a new migration; a test compares
"""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from runner.store import migrate

FILE = migrate.folder() / migrate.NEW


def migrated(path: Path) -> None:
    """Make a database by the migrations, one after the other."""
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(migrate.folder()))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, migrate.HEAD)
    engine.dispose()


def statements(path: Path) -> str:
    """Return what makes an empty database equal to this one; each ends with ";" and a new line."""
    with sqlite3.connect(path) as database:
        made = database.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
        ).fetchall()
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    lines = [f"{sql.strip()};\n" for (sql,) in made]
    return "".join([*lines, f"INSERT INTO alembic_version (version_num) VALUES ('{revision}')\n"])


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made_now = Path(folder) / "made.db"
        migrated(made_now)
        FILE.write_text(statements(made_now))
