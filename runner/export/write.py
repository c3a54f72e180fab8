"""Write outcomes to a file, in the form that was asked for."""

import tempfile
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, assert_never

from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.core.points import Reach, pass_by
from runner.export.aside import aside, is_straight
from runner.export.columns import load_duckdb, write_csv, write_parquet
from runner.export.lines import batch_line, raw_line
from runner.export.row import row_line


class Form(StrEnum):
    """The forms of an export, as `--format` names them."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    BATCH = "batch"
    RAW = "raw"


def write(
    outcomes: Iterable[Outcome],
    out: str,
    form: Form,
    *,
    reach: Reach = pass_by,
    formulas: bool = False,
) -> int:
    """Write outcomes to a file (or "-"), in their order; return how many rows were written.

    `batch` and `raw` pass over jobs that are not at rest. `formulas` lets text in a CSV be what a
    spreadsheet runs. Memory does not grow with the number of outcomes. Raises `UsageError` before
    anything is read where the target cannot be written or an extra is missing, `Stopped` where the
    disk is full; the target then is as it was.
    """
    match form:
        case Form.JSONL:
            return _write_lines(outcomes, row_line, out, reach)
        case Form.RAW:
            return _write_lines(filter(_at_rest, outcomes), raw_line, out, reach)
        case Form.BATCH:
            return write_batch(outcomes, out, reach=reach)
        case Form.CSV:
            return _write_csv(outcomes, out, reach, formulas=formulas)
        case Form.PARQUET:
            return _write_parquet(outcomes, out, reach)
        case _:
            assert_never(form)


def write_batch(outcomes: Iterable[Outcome], out: str, *, reach: Reach = pass_by) -> int:
    """Write OpenAI's Batch output file and, beside it, its error file; return the rows of both.

    The error file is always written, empty where nothing failed, so that none of an earlier export
    stays. It is renamed first: an output file that is new has its error file beside it. Where the
    target is no file ("-", a pipe), both kinds of line go there: each tells by itself what it is.
    """
    resting = filter(_at_rest, outcomes)
    if is_straight(out):
        return _write_lines(resting, batch_line, out, reach)
    rows = 0
    with aside(out, reach) as good, aside(errors_path(out), reach) as bad:
        for rows, outcome in enumerate(resting, 1):  # noqa: B007  # the count of what was written
            sink = good if outcome.state is JobState.SUCCEEDED else bad
            sink.write(batch_line(outcome))
        # Both have their room before either is renamed, or a full disk would leave a new error
        # file beside an old output file.
        good.flush()
        bad.flush()
    return rows


def errors_path(out: str) -> str:
    """Return where a Batch export's failures go: "name.jsonl" becomes "name.errors.jsonl"."""
    path = Path(out)
    return str(path.with_name(f"{path.stem}.errors{path.suffix}"))


def _write_lines(
    outcomes: Iterable[Outcome], line: Callable[[Outcome], bytes], out: str, reach: Reach
) -> int:
    rows = 0
    with aside(out, reach) as sink:
        put: Callable[[bytes], object] = sink.write
        for rows, outcome in enumerate(outcomes, 1):  # noqa: B007  # the count of what was written
            put(line(outcome))
    return rows


def _write_csv(outcomes: Iterable[Outcome], out: str, reach: Reach, *, formulas: bool) -> int:
    rows = 0
    with aside(out, reach) as sink:
        rows += write_csv(outcomes, sink, formulas=formulas)
    return rows


def _write_parquet(outcomes: Iterable[Outcome], out: str, reach: Reach) -> int:
    load_duckdb()
    rows = 0
    with aside(out, reach) as sink:
        rows += write_parquet(outcomes, sink, _staging(out, sink), told=out)
    return rows


def _staging(out: str, sink: BinaryIO) -> Path:
    return Path(tempfile.gettempdir()) if is_straight(out) else Path(sink.name).parent


def _at_rest(outcome: Outcome) -> bool:
    return outcome.state.at_rest
