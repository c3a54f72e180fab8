"""PostgreSQL: a client that falls silent in the middle of a transaction holds nobody up for long.

Stopped or cut off, it leaves locks behind (a batch's tally, say) that every other host waits for.
The server's own limit for that, `idle_in_transaction_session_timeout`, is off once the first
message of a statement has come, until the last one of it has; and psycopg's `executemany` ends
with a message after the last one, which turns it off as well. So whoever waits in vain looks who
holds it up, and ends what has been silent for as long. Nothing is lost: what was not committed is
written again by its client once it is back, if its lease still holds.
"""

from contextlib import suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from runner.store.engine import sqlstate

PATIENT_S = 5
"""So long a transaction waits for a lock, and the server for the next statement of one."""

BOUNDS = """
    set_config('idle_in_transaction_session_timeout', :patient, true),
    set_config('lock_timeout', :patient, true),
    set_config('tcp_keepalives_idle', '5', true),
    set_config('tcp_keepalives_interval', '2', true),
    set_config('tcp_keepalives_count', '3', true)
"""
"""To be selected first in a transaction, for it alone: behind a pooler a session is others' too."""

_END_SILENT = text(
    """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND application_name LIKE 'runner%' AND state <> 'idle' AND wait_event = 'ClientRead'
    AND state_change < clock_timestamp() - CAST(:patient AS interval)
    """
)


def patient() -> dict[str, str]:
    """Return what `BOUNDS` is executed with."""
    return {"patient": f"{PATIENT_S}s"}


def bounds() -> str:
    """Return `BOUNDS` with its values in it, for a message of several statements."""
    return BOUNDS.replace(":patient", f"'{PATIENT_S}s'")


def waited_in_vain(error: DBAPIError) -> bool:
    """Whether a lock was waited for until the bound."""
    return sqlstate(error.orig) == "55P03"


def end_silent(connection: Connection) -> None:
    """End the sessions of Runner whose client has said nothing for `PATIENT_S` in a transaction.

    Those of another user may be out of reach; the server's keep-alives end them where they can.
    """
    with suppress(DBAPIError), connection.begin():
        connection.execute(_END_SILENT, patient()).all()
