"""Named points at which a test may kill the process.

`Reach` is handed in as a value; in production it does nothing. The killer lives in tests/.
"""

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """A place between two effects: what comes before it has happened, what comes after has not."""

    QUEUE_BEFORE_COMMIT = "queue_before_commit"
    QUEUE_AFTER_COMMIT = "queue_after_commit"
    MIGRATION_BEFORE_COMMIT = "migration_before_commit"
    MIGRATION_AFTER_COMMIT = "migration_after_commit"
    CLAIM_AFTER_COMMIT = "claim_after_commit"
    TAKE_OVER_AFTER_COMMIT = "take_over_after_commit"
    WRITE_BEFORE_COMMIT = "write_before_commit"
    WRITE_AFTER_COMMIT = "write_after_commit"
    PERMIT_TAKEN = "permit_taken"
    INTENT_DURABLE = "intent_durable"
    CREATE_BEFORE_SEND = "create_before_send"
    CREATE_AFTER_ANSWER = "create_after_answer"
    CREATED_RECORDED = "created_recorded"
    LOOK_BEFORE_SEND = "look_before_send"
    LOOK_AFTER_ANSWER = "look_after_answer"
    READ_AFTER_ANSWER = "read_after_answer"
    SETTLED = "settled"
    OUTPUTS_BEFORE_SEND = "outputs_before_send"
    OUTPUTS_AFTER_ANSWER = "outputs_after_answer"
    CANCEL_AFTER_ANSWER = "cancel_after_answer"
    EXPORT_BEFORE_RENAME = "export_before_rename"
    EXPORT_AFTER_RENAME = "export_after_rename"


Reach = Callable[[Point], None]


def pass_by(_point: Point) -> None:
    """Reach a point and go on: what production does."""
