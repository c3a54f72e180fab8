"""What ended well elsewhere, in a private database of its own: memory stays flat at any number."""

import sqlite3
from collections.abc import Iterable


class Elsewhere:
    """Custom ids of results that were made elsewhere. `well` and `others` count them.

    As in `PassMemory` the file is SQLite's own and goes with the connection.
    """

    def __init__(self) -> None:
        self.well = 0
        self.others = 0
        self._names = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._names.execute("PRAGMA journal_mode=off")
        self._names.execute("PRAGMA synchronous=off")
        self._names.execute("CREATE TABLE ended (name TEXT PRIMARY KEY, well INT) WITHOUT ROWID")
        self._names.execute("BEGIN")

    def add(self, results: Iterable[tuple[str, bool]]) -> None:
        """Take in custom ids and whether each ended well; once well is well."""
        self._names.executemany(
            "INSERT INTO ended VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET well = max(well, excluded.well)",
            results,
        )
        self.well, self.others = self._names.execute(
            "SELECT count(*) FILTER (WHERE well), count(*) FILTER (WHERE NOT well) FROM ended"
        ).fetchone()

    def has(self, name: str) -> bool:
        """Whether a job of that name ended well elsewhere."""
        found = self._names.execute("SELECT 1 FROM ended WHERE name = ? AND well", (name,))
        return found.fetchone() is not None

    def close(self) -> None:
        """Forget all of it."""
        self._names.close()
