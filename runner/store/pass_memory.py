"""What one pass over a manifest must remember, in a private database of its own.

Counts of equal lines and ids of jobs seen: memory stays flat at ten million lines. A private
SQLite file ("": SQLite deletes it by itself) rather than a temporary table of the store's, since a
pooler before PostgreSQL gives each transaction another session.
"""

import sqlite3
from collections.abc import Iterable, Sequence


class PassMemory:
    """Occurrences of digests, and ids seen."""

    def __init__(self) -> None:
        self._memory = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._memory.execute("PRAGMA journal_mode=off")
        self._memory.execute("PRAGMA synchronous=off")
        self._memory.execute(
            "CREATE TABLE occurrence (digest BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID"
        )
        self._memory.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY)")
        self._memory.execute("BEGIN")

    def occurrences(self, digests: Sequence[bytes]) -> list[int]:
        """Count each digest once more; return which occurrence in this pass each is, from 1."""
        first = self._memory.executemany(
            "INSERT OR IGNORE INTO occurrence VALUES (?, 0)", [(digest,) for digest in digests]
        )
        if first.rowcount == len(digests):
            self._memory.executemany(
                "UPDATE occurrence SET times = 1 WHERE digest = ?",
                [(digest,) for digest in digests],
            )
            return [1] * len(digests)
        return [
            int(
                self._memory.execute(
                    "UPDATE occurrence SET times = times + 1 WHERE digest = ? RETURNING times",
                    (digest,),
                ).fetchone()[0]
            )
            for digest in digests
        ]

    def see(self, ids: Iterable[int]) -> None:
        """Remember jobs whose lines were in this pass."""
        self._memory.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((one,) for one in ids))

    def has_seen(self, job_id: int) -> bool:
        """Whether the job's line was in this pass."""
        row = self._memory.execute("SELECT 1 FROM seen WHERE id = ?", (job_id,)).fetchone()
        return row is not None

    def close(self) -> None:
        """Forget all of it."""
        self._memory.close()
