"""Imported by Python itself in a worker process: its SQLite file may have no more than so many pages.

TEST_MOST_PAGES is their number. SQLite's own bound stands for the disk's: the same error at the
same places.
"""

import os
import sqlite3

from sqlalchemy import Engine, event


@event.listens_for(Engine, "connect")
def bound(connection: sqlite3.Connection, _entry: object) -> None:
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


pages = int(os.environ["TEST_MOST_PAGES"])  # noqa: TID251 - told by the test
