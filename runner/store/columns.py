"""The tables as statements name them, and the numbers by which rows spell a state.

`tables.py` declares the same tables as models, for the migrations and for copies. To import those
takes a third of a second (SQLModel, the ORM), which no command that works should pay at its start;
a test holds the two equal.
"""

from collections.abc import Mapping
from typing import TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    TableClause,
    column,
    table,
)

from runner.core.model import JobState

STATES: tuple[JobState, ...] = (
    JobState.QUEUED,
    JobState.SUBMITTING,
    JobState.RUNNING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
)
NUMBER = {state: number for number, state in enumerate(STATES)}


_Kind: TypeAlias = (
    type[BigInteger]
    | type[Boolean]
    | type[Float[float]]
    | type[Integer]
    | type[LargeBinary]
    | type[SmallInteger]
    | type[String]
)


def _table(name: str, kinds: Mapping[_Kind, str]) -> TableClause:
    columns = (column(one, kind) for kind, names in kinds.items() for one in names.split())
    return table(name, *columns)


BATCH = _table(
    "batch",
    {
        Integer: "id origin weight lateness_ms",
        BigInteger: "made_ms blocked_since_ms",
        Boolean: "queued_whole look_first",
        String: "name uid dialect base_url options tag stopped",
    },
)
ORIGIN = _table("origin", {Integer: "id", BigInteger: "probed_ms", String: "base_url proofs"})
JOB = _table(
    "job",
    {
        Integer: "id batch_id source_id origin token generation attempt refusals",
        SmallInteger: "own_thread lane state idle_state blocked doubted presumed slow_close "
        "cancel_asked possible_double",
        BigInteger: "line clock_not_before_ms clock_closed_ms intent_ms first_intent_ms queued_ms "
        "created_ms ended_ms",
        String: "custom_id thread_id status worker run_id sender blocked_by",
        LargeBinary: "digest",
    },
)
BUDGET = _table(
    "budget",
    {
        Integer: "id",
        BigInteger: "seq opened_seq version",
        Float: "step tat closed_until closed_for leased_at lim win others spread opened_at cut_at",
        String: "account kind closed_why source memory",
    },
)
