"""Outcomes for the export's tests: plain ones, and any that hypothesis can think of."""

import json

from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.model import JobState, Reason, Usage
from runner.core.outcome import Cause, Outcome

COMPLETED = Outcome(
    batch="nightly",
    custom_id="case-1",
    line=1,
    state=JobState.SUCCEEDED,
    status="completed",
    thread_id="thread_1",
    run_id="run_1",
    run=b'{"id": "run_1", "temperature": 1.0, "big": 12345678901234567890}',
    attempts=1,
    idempotency_key="run-00112233445566778899aabb-1",
    queued_ms=1_772_330_645_006,
    created_ms=1_772_330_646_000,
    ended_ms=1_772_330_650_999,
    usage=Usage(prompt=1000, completion=200, total=1200, cached=900, reasoning=50),
)
FAILED = replace(
    COMPLETED,
    custom_id="case-2",
    line=2,
    state=JobState.FAILED,
    status="failed",
    run=b'{"id":"run_2","status":"failed","last_error":{"code":"server_error"}}',
    run_id="run_2",
    error=Cause(code="server_error", message="Sorry, something went wrong."),
    usage=None,
)
REJECTED = Outcome(
    "nightly",
    "case-3",
    3,
    JobState.FAILED,
    Reason.REJECTED,
    error=Cause("invalid_request_error", "bad_value", "No such assistant", 400, "req_9"),
    attempts=1,
)
EXHAUSTED = replace(
    REJECTED,
    custom_id="case-4",
    line=4,
    status=Reason.EXHAUSTED,
    error=Cause(code="connect", message="connection refused"),
    attempts=8,
)
IN_DOUBT = replace(
    REJECTED,
    custom_id="case-5",
    line=5,
    status=Reason.IN_DOUBT,
    error=Cause(message="bad gateway", http_status=502),
)
CANCELLED = Outcome("nightly", "case-6", 6, JobState.CANCELLED, Reason.CANCELLED)
INCOMPLETE = replace(
    FAILED,
    custom_id="case-7",
    line=7,
    status="incomplete",
    run=b'{"id":"run_7","status":"incomplete"}',
    error=None,
)
QUEUED = Outcome("nightly", "case-8", 8, JobState.QUEUED, None)

ENDS = (COMPLETED, FAILED, REJECTED, EXHAUSTED, IN_DOUBT, CANCELLED, INCOMPLETE)


# No surrogates: half a pair has a test of its own. No NUL: pandas' reader ends a text there.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
formulas = st.builds(
    str.__add__, st.sampled_from(list("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")), texts
)
any_text = texts | formulas
json_bytes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
spacings = st.sampled_from([{"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


def _dump(value: object, spacing: dict[str, object]) -> bytes:
    return json.dumps(value, **spacing).encode()  # type: ignore[arg-type]  # three known settings


runs = st.builds(
    _dump,
    st.fixed_dictionaries(
        {"id": texts},
        optional={"metadata": json_bytes, "model": json_bytes, "tools": json_bytes},
    ),
    spacings,
)
arrays = st.builds(_dump, st.lists(json_bytes, max_size=3), spacings)
counts = st.integers(0, 2**63 - 1)
# Up to the end of 9999, the last year that a calendar here holds.
times_ms = st.just(0) | st.integers(1, 253_402_300_799_999)

outcomes = st.builds(
    Outcome,
    batch=any_text,
    custom_id=any_text,
    line=counts,
    state=st.sampled_from(JobState),
    status=st.none() | any_text,
    thread_id=st.none() | any_text,
    run_id=st.none() | any_text,
    run=st.none() | runs,
    earlier_runs=st.lists(runs, max_size=2).map(tuple),
    messages=st.none() | arrays,
    steps=st.none() | arrays,
    output_text=st.none() | any_text,
    deltas=st.none() | arrays,
    error=st.none()
    | st.builds(
        Cause,
        *[st.none() | any_text] * 3,
        st.none() | st.integers(100, 599),
        st.none() | any_text,
    ),
    attempts=counts,
    generation=counts,
    idempotency_key=texts,
    queued_ms=times_ms,
    created_ms=times_ms,
    ended_ms=times_ms,
    usage=st.none() | st.builds(Usage, counts, counts, counts, counts, counts),
    doubles=st.lists(any_text, max_size=2).map(tuple),
    possible_double=st.booleans(),
)
