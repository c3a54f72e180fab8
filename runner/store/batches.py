"""Batches and the servers that they are for: made once, found again, changed in a few fields."""

import json
import secrets
from collections.abc import Mapping

from msgspec.structs import asdict
from sqlalchemy import Connection, select, text, update

from runner.core.batch import Batch
from runner.core.errors import UsageError
from runner.core.model import Proofs
from runner.store.columns import BATCH, ORIGIN

_B = BATCH.c
_ALL = select(
    _B.id,
    _B.name,
    _B.uid,
    _B.dialect,
    _B.base_url,
    _B.origin,
    _B.tag,
    _B.weight,
    _B.options,
    _B.queued_whole,
    _B.look_first,
    _B.stopped,
    _B.lateness_ms,
    ORIGIN.c.proofs,
).join(ORIGIN, ORIGIN.c.id == _B.origin)

_NEW_ORIGIN = text(
    """
    INSERT INTO origin (base_url, proofs, probed_ms) VALUES (:base_url, '', 0)
    ON CONFLICT (base_url) DO NOTHING
    """
)
_NEW_BATCH = text(
    """
    INSERT INTO batch (name, uid, dialect, base_url, origin, options, weight, tag, made_ms,
        queued_whole, look_first, stopped, blocked_since_ms, lateness_ms)
    VALUES (:name, :uid, :dialect, CAST(:base_url AS VARCHAR),
        (SELECT id FROM origin WHERE base_url = CAST(:base_url AS VARCHAR)),
        :options, :weight, :tag, :made_ms,
        FALSE, FALSE, '', 0, 0)
    ON CONFLICT (name) DO NOTHING
    """
)

_Fields = tuple[int, str, str, str, str, int, str, int, str, bool, bool, str, int, str]


def begin(
    connection: Connection,
    name: str,
    *,
    dialect: str,
    base_url: str,
    options: Mapping[str, str],
    weight: int,
    tag: str,
    made_ms: int,
) -> Batch:
    """Make a batch, or return the one of that name.

    `UsageError` where it began with another dialect or base URL: its jobs' threads and runs are
    there.
    """
    connection.execute(_NEW_ORIGIN, {"base_url": base_url})
    connection.execute(
        _NEW_BATCH,
        {
            "name": name,
            "uid": secrets.token_hex(8),
            "dialect": dialect,
            "base_url": base_url,
            "options": json.dumps(dict(options), ensure_ascii=False),
            "weight": weight,
            "tag": tag,
            "made_ms": made_ms,
        },
    )
    batch = named(connection, name)
    if batch is None:
        raise AssertionError(f"batch {name} was made and is not there")
    for what, began, asked in (
        ("dialect", batch.dialect, dialect),
        ("base URL", batch.base_url, base_url),
    ):
        if began != asked:
            raise UsageError(
                f"began with {what} {began}, not {asked}",
                where=f"batch {name}",
                remedy="give another name with --batch",
            )
    return batch


def named(connection: Connection, name: str) -> Batch | None:
    """Return the batch of that name."""
    row = connection.execute(_ALL.where(_B.name == name)).one_or_none()
    return None if row is None else _batch(tuple(row))


def every(connection: Connection) -> list[Batch]:
    """Return all batches, the oldest first."""
    rows = connection.execute(_ALL.order_by(_B.id))
    return [_batch(tuple(row)) for row in rows]


def change(connection: Connection, batch_id: int, changes: Mapping[str, int | str | bool]) -> None:
    """Set some of a batch's columns."""
    if changes:
        connection.execute(update(BATCH).where(_B.id == batch_id).values(**changes))


def hear_lateness(connection: Connection, batch_id: int, late_ms: int) -> None:
    """Keep the greatest lateness that any worker of the batch has seen."""
    connection.execute(
        update(BATCH).where(_B.id == batch_id, _B.lateness_ms < late_ms).values(lateness_ms=late_ms)
    )


def lateness_ms(connection: Connection, batch_id: int) -> int:
    """Return the greatest lateness of the batch, 0 for none."""
    return connection.scalar(select(_B.lateness_ms).where(_B.id == batch_id)) or 0


def set_proofs(connection: Connection, base_url: str, proofs: Proofs, probed_ms: int) -> None:
    """Remember what a probe found for a base URL, for all batches on it."""
    connection.execute(_NEW_ORIGIN, {"base_url": base_url})
    connection.execute(
        update(ORIGIN)
        .where(ORIGIN.c.base_url == base_url)
        .values(proofs=json.dumps(asdict(proofs)), probed_ms=probed_ms)
    )


def _batch(row: _Fields) -> Batch:
    (
        number, name, uid, dialect, base_url, origin, tag, weight, options, queued_whole,
        look_first, stopped, lateness_ms, proofs,
    ) = row  # fmt: skip
    return Batch(
        id=number,
        name=name,
        uid=uid,
        dialect=dialect,
        base_url=base_url,
        origin=origin,
        tag=tag,
        weight=weight,
        options=json.loads(options),
        queued_whole=bool(queued_whole),
        look_first=bool(look_first),
        stopped=stopped,
        lateness_ms=lateness_ms,
        proofs=Proofs(**json.loads(proofs)) if proofs else None,
    )
