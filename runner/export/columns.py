r"""Flat tables: CSV for spreadsheets, Parquet for analysis; one table of columns for both.

**One schema whatever the rows hold.** Nested values are JSON text, byte for byte what the API sent:
an empty `{}`, a list that is sometimes a string and a 20-digit integer stay exact, and end no
export (cases.md C44, C50). Times are UTC.

**CSV.** UTF-8 without BOM, a header, lines ended by "\n" alone (readers split alike on every
system; line breaks inside a text stay as they came). Text stands in quotes, numbers, times and
true/false bare, and a missing value is an empty field, so that it differs from an empty text.
Text that a spreadsheet would run as a formula gets a leading apostrophe (`neutral`): JSONL and
Parquet never do.

**Parquet.** Zstandard, written by DuckDB from rows staged beside the target, so that memory does
not grow with the batch; row groups of about 64 MB.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, TypeAlias

import msgspec
from msgspec import Struct

from runner.core.errors import UsageError
from runner.core.model import Usage
from runner.core.outcome import Cause, Outcome
from runner.export.aside import disk_full, part_file
from runner.export.row import iso, mended

Cell: TypeAlias = str | int | bool | None


class Kind(StrEnum):
    """A column's type, in SQL's word."""

    TEXT = "VARCHAR"
    WHOLE = "BIGINT"
    TIME = "TIMESTAMP"
    FLAG = "BOOLEAN"


class _RunFields(msgspec.Struct, gc=False):
    """The fields of a run object that tables are grouped by, as the bytes that they came in."""

    model: msgspec.Raw = msgspec.Raw()
    assistant_id: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()


class _Seen(Struct, frozen=True):
    """An outcome, and what its columns share; absent parts are empty ones."""

    outcome: Outcome
    run: _RunFields
    error: Cause
    usage: Usage | None


class Column(Struct, frozen=True):
    """A column: its name, its type, what it holds, and how it is read from an outcome."""

    name: str
    kind: Kind
    about: str
    read: Callable[[_Seen], Cell]


_NO_RUN, _NO_ERROR = _RunFields(), Cause()
_WHOLE_LIMIT = 1 << 63


def _tokens(count: Callable[[Usage], int]) -> Callable[[_Seen], Cell]:
    """Return how to read a count of tokens: None where the API counted none.

    None too where BIGINT could not hold it; the run object keeps such a number exactly.
    """

    def read(seen: _Seen) -> int | None:
        if seen.usage is None:
            return None
        number = count(seen.usage)
        return number if -_WHOLE_LIMIT <= number < _WHOLE_LIMIT else None

    return read


COLUMNS: tuple[Column, ...] = (
    Column("batch", Kind.TEXT, "the batch's name", lambda s: s.outcome.batch),
    Column("custom_id", Kind.TEXT, "the job's name in it", lambda s: s.outcome.custom_id),
    Column("line", Kind.WHOLE, "its line in the manifest", lambda s: s.outcome.line),
    Column("state", Kind.TEXT, "ours", lambda s: s.outcome.state.value),
    Column("status", Kind.TEXT, "the API's, verbatim", lambda s: s.outcome.status),
    Column("thread_id", Kind.TEXT, "the thread", lambda s: s.outcome.thread_id),
    Column("run_id", Kind.TEXT, "the run", lambda s: s.outcome.run_id),
    Column("model", Kind.TEXT, "the run's model", lambda s: _word(s.run.model)),
    Column("assistant_id", Kind.TEXT, "its assistant", lambda s: _word(s.run.assistant_id)),
    Column("metadata", Kind.TEXT, "its metadata, JSON", lambda s: _nested(s.run.metadata)),
    Column("output_text", Kind.TEXT, "the answer, if fetched", lambda s: s.outcome.output_text),
    Column("error_type", Kind.TEXT, "the error's type", lambda s: s.error.type),
    Column("error_code", Kind.TEXT, "its code", lambda s: s.error.code),
    Column("error_message", Kind.TEXT, "its text", lambda s: s.error.message),
    Column("error_http_status", Kind.WHOLE, "its HTTP status", lambda s: s.error.http_status),
    Column("error_request_id", Kind.TEXT, "its request", lambda s: s.error.request_id),
    Column("attempts", Kind.WHOLE, "tries to create", lambda s: s.outcome.attempts),
    Column("generation", Kind.WHOLE, "deliberate runs", lambda s: s.outcome.generation),
    Column("idempotency_key", Kind.TEXT, "the key sent", lambda s: s.outcome.idempotency_key),
    Column("queued_at", Kind.TIME, "queued, UTC", lambda s: iso(s.outcome.queued_ms)),
    Column("created_at", Kind.TIME, "created, UTC", lambda s: iso(s.outcome.created_ms)),
    Column("ended_at", Kind.TIME, "at rest, UTC", lambda s: iso(s.outcome.ended_ms)),
    Column("prompt_tokens", Kind.WHOLE, "tokens in", _tokens(lambda u: u.prompt)),
    Column("completion_tokens", Kind.WHOLE, "tokens out", _tokens(lambda u: u.completion)),
    Column("total_tokens", Kind.WHOLE, "both", _tokens(lambda u: u.total)),
    Column("cached_tokens", Kind.WHOLE, "part of tokens in", _tokens(lambda u: u.cached)),
    Column("reasoning_tokens", Kind.WHOLE, "part of tokens out", _tokens(lambda u: u.reasoning)),
    Column(
        "possible_double", Kind.FLAG, "sent again in doubt", lambda s: s.outcome.possible_double
    ),
    Column("doubles", Kind.TEXT, "further runs' ids, JSON", lambda s: _ids(s.outcome.doubles)),
    Column("run", Kind.TEXT, "the run object, JSON", lambda s: _nested(s.outcome.run)),
    Column(
        "earlier_runs",
        Kind.TEXT,
        "those of earlier generations, JSON",
        lambda s: _nested(b"[%b]" % b",".join(s.outcome.earlier_runs)),
    ),
    Column("messages", Kind.TEXT, "if fetched, JSON", lambda s: _nested(s.outcome.messages)),
    Column("steps", Kind.TEXT, "if fetched, JSON", lambda s: _nested(s.outcome.steps)),
    Column("deltas", Kind.TEXT, "if kept, JSON", lambda s: _nested(s.outcome.deltas)),
)

_TEXTS = tuple(column.kind is Kind.TEXT for column in COLUMNS)
_NAMES = tuple(column.name for column in COLUMNS)
_READS = tuple(column.read for column in COLUMNS)


def cells(outcome: Outcome) -> list[Cell]:
    """Return an outcome's values in the order of `COLUMNS`."""
    seen = _Seen(outcome, _run_fields(outcome.run), outcome.error or _NO_ERROR, outcome.usage)
    return [read(seen) for read in _READS]


def write_csv(outcomes: Iterable[Outcome], sink: BinaryIO, *, formulas: bool = False) -> int:
    """Write a header and a line for each outcome; return how many outcomes.

    `formulas` leaves text as it is that a spreadsheet would run.
    """
    sink.write((",".join(_NAMES) + "\n").encode())
    rows = 0
    for rows, outcome in enumerate(outcomes, 1):  # noqa: B007  # the count of what was written
        sink.write(csv_line(outcome, formulas=formulas))
    return rows


def csv_line(outcome: Outcome, *, formulas: bool = False) -> bytes:
    """Return one outcome as a line of CSV, newline included."""
    line = ",".join(
        [
            _bare(cell) if not text or not isinstance(cell, str) else _text(cell, formulas=formulas)
            for text, cell in zip(_TEXTS, cells(outcome), strict=True)
        ]
    )
    return (line + "\n").encode(errors="backslashreplace")


# = + - @ begin a formula; so do a tab, CR or LF before one (they are trimmed), and the full-width
# forms where the spreadsheet's language is East Asian (OWASP, "CSV injection"). Apostrophes before
# such a character count too, so that taking one away always gives back the text that was.
_RUNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_BEGINS = frozenset("'" + _RUNS)
_FORMULA = re.compile(f"'*[{re.escape(_RUNS)}]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def neutral(text: str) -> str:
    """Return text as a spreadsheet will show it and not run it: formulas get an apostrophe.

    A plain number ("-5", "+1.5e3") is no formula and stays. To undo: where a text begins with
    apostrophes and then one of these characters, take one apostrophe away.
    """
    if text[:1] in _BEGINS and _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def _text(text: str, *, formulas: bool) -> str:
    kept = text if formulas else neutral(text)
    return '"' + kept.replace('"', '""') + '"'


def _bare(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)


_GROUP_BYTES = 64 << 20
_SMALLEST_GROUP, _LARGEST_GROUP = 2048, 122_880  # rows; DuckDB's vector, and its default
_encode = msgspec.json.Encoder().encode


def write_parquet(outcomes: Iterable[Outcome], sink: BinaryIO, folder: Path, *, told: str) -> int:
    """Write the outcomes as one Parquet file; return how many.

    The rows are staged in `folder` under hidden names; `told` is the target in errors.

    Raises `UsageError` where DuckDB is not installed, `Stopped` where the disk is full.
    """
    duckdb = load_duckdb()
    name = Path(told).name
    with part_file(folder, name, told=told) as staged, part_file(folder, name, told=told) as table:
        stage = _stage(outcomes, staged)
        _copy(duckdb, stage, staged.name, table.name, told=told)
        with Path(table.name).open("rb") as whole:
            while chunk := whole.read(1 << 20):
                sink.write(chunk)
    return stage.rows


def load_duckdb() -> ModuleType:
    """Return the duckdb module; `UsageError` with the way to it where it is not installed."""
    try:
        import duckdb  # noqa: PLC0415  # an extra of 70 MB that JSONL and CSV do without
    except ImportError as trouble:
        raise UsageError(
            "parquet needs duckdb, which is not installed",
            where="--format",
            remedy="pip install 'runner[parquet]'",
        ) from trouble
    return duckdb


class _Stage(Struct, frozen=True):
    """How many rows were staged, how many bytes, and how many bytes the longest has."""

    rows: int
    size: int
    longest: int


def _stage(outcomes: Iterable[Outcome], staged: BinaryIO) -> _Stage:
    """Write the cells as JSON lines: JSON knows text from nothing and has no stray line breaks."""
    rows = size = longest = 0
    for outcome in outcomes:
        try:
            line = _encode(dict(zip(_NAMES, cells(outcome), strict=True)))
        except UnicodeEncodeError:
            line = _encode(dict(zip(_NAMES, cells(mended(outcome)), strict=True)))
        staged.write(line + b"\n")
        rows, size, longest = rows + 1, size + len(line), max(longest, len(line))
    staged.flush()
    return _Stage(rows, size, longest)


def _copy(duckdb: ModuleType, stage: _Stage, source: str, target: str, *, told: str) -> None:
    average = stage.size // stage.rows if stage.rows else 1
    group = min(max(_GROUP_BYTES // max(average, 1), _SMALLEST_GROUP), _LARGEST_GROUP)
    columns = ", ".join(f"\"{column.name}\": '{column.kind}'" for column in COLUMNS)
    rows = (
        f"read_json({_quoted(source)}, format = 'newline_delimited', compression = 'none',"
        f" columns = {{{columns}}}, maximum_object_size = {max(stage.longest + 1024, 1 << 20)})"
    )
    statement = (
        f"COPY (FROM {rows}) TO {_quoted(target)}"
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group}, USE_TMP_FILE false)"
    )
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        # One thread: rows keep the manifest's order and memory stays at one buffer. The spill
        # folder would be .tmp in the working folder; nothing here needs one.
        connection.execute("SET threads = 1; SET temp_directory = ''; SET TimeZone = 'UTC'")
        connection.execute(statement)
    except duckdb.IOException as trouble:
        if "No space left" in str(trouble) or "File too large" in str(trouble):
            raise disk_full(told) from trouble
        raise
    finally:
        connection.close()


def _quoted(text: str) -> str:
    """Return a text as an SQL literal: DuckDB binds no values in COPY."""
    return "'" + text.replace("'", "''") + "'"


def _run_fields(run: bytes | None) -> _RunFields:
    if run is None:
        return _NO_RUN
    try:
        return msgspec.json.decode(run, type=_RunFields)
    except (msgspec.MsgspecError, RecursionError):
        return _NO_RUN  # a dialect whose run is no object, or nested beyond reading: `run` has it


def _word(raw: msgspec.Raw) -> str | None:
    """Return a JSON string's text; other values as JSON text, null and absent as None."""
    raw_bytes = bytes(raw)
    if raw_bytes.startswith(b'"'):
        try:
            return msgspec.json.decode(raw_bytes, type=str)
        except msgspec.MsgspecError:
            return _nested(raw_bytes)
    return _nested(raw_bytes)


def _nested(raw: bytes | msgspec.Raw | None) -> str | None:
    """Return JSON bytes as text; absent and null as None. Bad UTF-8 shows as U+FFFD."""
    if raw is None:
        return None
    raw_bytes = bytes(raw)
    return None if raw_bytes in {b"", b"null"} else raw_bytes.decode(errors="replace")


def _ids(ids: tuple[str, ...]) -> str:
    return _encode(ids).decode() if ids else "[]"
