"""Which jobs a command is about: ids in order, by short reads, so that no lock is held meanwhile.

What is read here is looked at again in the transaction that changes it.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, TextClause, bindparam, text

CHUNK = 1000

Ids: TypeAlias = list[int]
Read = Callable[[Callable[[Connection], Ids]], Ids]
Binds: TypeAlias = dict[str, int | str | list[int] | list[str]]

# The plus: by the batch's own index each chunk would read and sort all that is left of the batch.
IN_STATES = text(
    """
    SELECT id FROM job WHERE +batch_id = :batch_id AND id > :after AND state IN :states
    ORDER BY id LIMIT :most
    """
).bindparams(bindparam("states", expanding=True))
_NAMED = text(
    "SELECT id FROM job WHERE batch_id = :batch_id AND custom_id IN :names ORDER BY id"
).bindparams(bindparam("names", expanding=True))
_KNOWN = text(
    "SELECT custom_id FROM job WHERE batch_id = :batch_id AND custom_id IN :names"
).bindparams(bindparam("names", expanding=True))


def in_states(read: Read, batch_id: int, states: Sequence[int]) -> Iterator[Ids]:
    """Yield the ids of a batch's jobs in these states (numbers), a chunk at a time, in order."""
    after = 0
    while states:
        binds: Binds = {
            "batch_id": batch_id,
            "after": after,
            "states": list(states),
            "most": CHUNK,
        }
        ids = read(_scan(IN_STATES, binds))
        if ids:
            yield ids
            after = ids[-1]
        if len(ids) < CHUNK:
            return


def named(read: Read, batch_id: int, names: Collection[str]) -> Iterator[Ids]:
    """Yield the ids of the jobs of these names, chunks of them in order."""
    ids: list[int] = []
    for some in _parts(names):
        binds: Binds = {"batch_id": batch_id, "names": some}
        ids += read(_scan(_NAMED, binds))
    ids.sort()
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def unknown(connection: Connection, batch_id: int, names: Collection[str]) -> tuple[str, ...]:
    """Return which of these names are no job's of the batch."""
    known: set[str] = set()
    for some in _parts(names):
        known.update(connection.scalars(_KNOWN, {"batch_id": batch_id, "names": some}))
    return tuple(sorted(set(names) - known))


def _scan(statement: TextClause, binds: Binds) -> Callable[[Connection], Ids]:
    return lambda connection: list(connection.scalars(statement, binds))


def _parts(names: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(names)
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]
