"""The idempotency key of a generation: header and tag are the same text.

One key for all attempts of a generation, a new one for each deliberate next run. The part before
the last "-" is the job's, so one prefix finds the runs of every generation (protocol.md 8, change 10).
"""

from hashlib import blake2b


def job_part(batch_uid: str, custom_id: str) -> str:
    """Return the part of the key that all generations of a job share (28 visible ASCII characters)."""
    digest = blake2b(f"{batch_uid}\0{custom_id}".encode(), digest_size=12)
    return f"run-{digest.hexdigest()}"


def idempotency_key(batch_uid: str, custom_id: str, generation: int) -> str:
    """Return the key: under 64 visible ASCII characters, so that it fits a metadata value.

    `batch_uid` is made by chance when the batch is made, so that the same manifest in a new
    database asks for new runs. `generation` starts at 1.
    """
    return f"{job_part(batch_uid, custom_id)}-{generation}"


def part_of(key: str) -> str:
    """Return the job's part of a key, or of any tag."""
    return key.rpartition("-")[0]
