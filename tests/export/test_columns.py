import csv
import io
import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
from export.samples import CANCELLED, COMPLETED, ENDS, FAILED, QUEUED, REJECTED, formulas, outcomes
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.model import JobState, Usage
from runner.core.outcome import Outcome
from runner.export.columns import COLUMNS, Cell, Kind, cells, csv_line, neutral, write_csv
from runner.export.write import Form, write

duckdb = pytest.importorskip("duckdb", reason="the extra [parquet] is not installed")
pandas = pytest.importorskip("pandas", reason="the extra [test] is not installed")

NAMES = [column.name for column in COLUMNS]
SPREADSHEET_BEGINS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def as_csv(rows: list[Outcome], *, formulas: bool = False) -> bytes:
    sink = io.BytesIO()
    assert write_csv(rows, sink, formulas=formulas) == len(rows)
    return sink.getvalue()


def cell(outcome: Outcome, name: str) -> Cell:
    return cells(outcome)[NAMES.index(name)]


def csv_cell(outcome: Outcome, name: str, *, formulas: bool = False) -> str:
    (row,) = csv.reader(io.StringIO(csv_line(outcome, formulas=formulas).decode(), newline=""))
    return row[NAMES.index(name)]


def undone(text: str) -> str:
    """Undo `neutral` as its docstring says."""
    bare = text.lstrip("'")
    return text[1:] if text != bare and bare[:1] and bare[0] in SPREADSHEET_BEGINS else text


def shown(value: Cell) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def as_read(row: list[Cell]) -> tuple[object, ...]:
    """Return cells as a reader of typed columns gives them: times as naive UTC datetimes."""
    return tuple(
        datetime.fromisoformat(str(value)).replace(tzinfo=None)
        if column.kind is Kind.TIME and value is not None
        else value
        for column, value in zip(COLUMNS, row, strict=True)
    )


def test_a_csv_begins_with_its_header_and_tells_nothing_from_empty_text() -> None:
    sheet = as_csv([replace(CANCELLED, output_text="")])
    assert sheet == (
        b"batch,custom_id,line,state,status,thread_id,run_id,model,assistant_id,metadata,"
        b"output_text,error_type,error_code,error_message,error_http_status,error_request_id,"
        b"attempts,generation,idempotency_key,queued_at,created_at,ended_at,prompt_tokens,"
        b"completion_tokens,total_tokens,cached_tokens,reasoning_tokens,possible_double,doubles,"
        b"run,earlier_runs,messages,steps,deltas\n"
        b'"nightly","case-6",6,"cancelled","cancelled",,,,,,"",,,,,,0,1,"",,,,,,,,,false,"[]",,'
        b'"[]",,,\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x")',
        "@SUM(1)",
        "\t=1",
        "-2+3",
        "+cmd|' /C calc'!A0",
        "\r=1",
        "\uff1d1",
        "-",
    ],
)
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    formula = replace(COMPLETED, custom_id=text, output_text=text)
    for name in ("custom_id", "output_text"):
        assert csv_cell(formula, name) == "'" + text
        assert csv_cell(formula, name, formulas=True) == text
        assert cell(formula, name) == text


@pytest.mark.parametrize("text", ["-5", "+1.5e3", "-0.25", "5", "a=1", " =1", "", "'quoted'"])
def test_numbers_and_harmless_text_stay_as_they_are(text: str) -> None:
    assert neutral(text) == text


def test_numbers_are_bare_and_exact_and_text_that_looks_like_one_is_text() -> None:
    big = replace(
        COMPLETED, custom_id="72057594038135102", line=-5, usage=Usage(total=9007199254740993)
    )
    line = csv_line(big)
    assert b'"72057594038135102",-5,' in line
    assert b",9007199254740993," in line
    assert csv_cell(big, "run") == (COMPLETED.run or b"").decode()


@given(st.text() | formulas | formulas.map("'{}".format))
def test_an_apostrophe_can_always_be_taken_away_again(text: str) -> None:
    assert undone(neutral(text)) == text
    assert neutral(text)[:1] not in set(SPREADSHEET_BEGINS) or _is_number(neutral(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(st.lists(outcomes, max_size=2))
@settings(max_examples=40)
def test_any_csv_reads_back_with_python(rows: list[Outcome]) -> None:
    text = as_csv(rows).decode()
    header, *read = csv.reader(io.StringIO(text, newline=""))
    assert header == NAMES
    assert [[undone(value) for value in row] for row in read] == [
        [shown(value) for value in cells(row)] for row in rows
    ]


@given(st.lists(outcomes, min_size=1, max_size=2))
@settings(max_examples=20)
def test_any_csv_reads_back_with_pandas(rows: list[Outcome]) -> None:
    sheet = io.BytesIO(as_csv(rows, formulas=True))
    frame = pandas.read_csv(sheet, dtype=str, keep_default_na=False, lineterminator="\n")
    assert list(frame.columns) == NAMES
    assert frame.to_numpy().tolist() == [[shown(value) for value in cells(row)] for row in rows]


def test_a_csv_reads_back_typed_with_duckdb_and_pandas(tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    assert write([*ENDS, QUEUED], str(out), Form.CSV) == 8
    types = {column.name: column.kind.value for column in COLUMNS}
    table = duckdb.read_csv(str(out), columns=types, header=True, allow_quoted_nulls=False)
    assert table.fetchall() == [as_read(cells(row)) for row in [*ENDS, QUEUED]]
    frame = pandas.read_csv(out, parse_dates=["queued_at"])
    assert frame["prompt_tokens"].sum() == 1000
    assert str(frame["queued_at"].dtype).endswith("UTC]")


@given(st.lists(outcomes, max_size=3))
@settings(max_examples=10, deadline=None)
def test_any_parquet_reads_back_with_one_schema(rows: list[Outcome]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/r.parquet"
        assert write(rows, out, Form.PARQUET) == len(rows)
        with duckdb.connect() as connection:
            table = connection.read_parquet(out)
            assert dict(zip(table.columns, map(str, table.types), strict=True)) == {
                column.name: column.kind.value for column in COLUMNS
            }
            assert table.fetchall() == [as_read(cells(row)) for row in rows]
            assert [path.name for path in Path(folder).iterdir()] == ["r.parquet"]


SHAPES = [
    b'{"metadata":{},"tools":[],"response_format":"auto","usage":null}',
    b'{"metadata":{},"tools":[{"maximum":9007199254740993,"x":0.1000000000000000055}]}',
    b'{"metadata":{},"response_format":{"type":"json_object"},"usage":null}',
    b'{"metadata":{"id":"72057594038135102"},"model":["odd"],"answer":12345678901234567890}',
    b"[]",
    b'"just text"',
]


def test_shapes_that_change_are_exact_json_text_in_pandas(tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    rows = [replace(COMPLETED, run=run, usage=None) for run in SHAPES]
    write(rows, str(out), Form.PARQUET)
    frame = duckdb.read_parquet(str(out)).df()
    assert frame["run"].tolist() == [run.decode() for run in SHAPES]
    assert frame["metadata"].tolist()[:3] == ["{}", "{}", "{}"]
    assert frame["metadata"].tolist()[3] == '{"id":"72057594038135102"}'
    assert frame["model"].tolist()[3] == '["odd"]'
    assert frame["prompt_tokens"].isna().all()


def test_a_count_beyond_64_bits_is_missing_and_the_run_keeps_it(tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    run = b'{"usage":{"total_tokens":99999999999999999999}}'
    write([replace(COMPLETED, run=run, usage=Usage(total=10**20 - 1))], str(out), Form.PARQUET)
    table = duckdb.read_parquet(str(out))
    assert table.project("total_tokens, run").fetchall() == [(None, run.decode())]


def test_a_row_longer_than_the_readers_own_limit_is_written(tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    run = b'{"text":"' + b"x" * 40_000_000 + b'"}'
    assert write([COMPLETED, replace(COMPLETED, run=run)], str(out), Form.PARQUET) == 2
    lengths = duckdb.read_parquet(str(out)).project("length(run)").fetchall()
    assert lengths == [(len(COMPLETED.run or b""),), (len(run),)]


def test_rows_of_several_groups_keep_the_manifests_order(tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    rows = (replace(COMPLETED, line=n, run=b'"' + b"x" * 33_000 + b'"') for n in range(4200))
    assert write(rows, str(out), Form.PARQUET) == 4200
    table = duckdb.read_parquet(str(out))
    assert [line for (line,) in table.project("line").fetchall()] == list(range(4200))
    groups = duckdb.sql(f"SELECT count(DISTINCT row_group_id) FROM parquet_metadata('{out}')")
    ((count,),) = groups.fetchall()
    assert count > 1


@pytest.mark.parametrize("form", [Form.CSV, Form.PARQUET])
def test_half_a_surrogate_pair_and_bad_utf8_end_no_table(form: Form, tmp_path: Path) -> None:
    out = tmp_path / f"r.{form}"
    cut = replace(REJECTED, output_text="cut \ud83d", run=b'{"text":"\xff"}')
    assert write([cut, FAILED], str(out), form) == 2
    read = duckdb.read_csv(str(out)) if form is Form.CSV else duckdb.read_parquet(str(out))
    assert read.project("output_text, run").fetchall()[0] == ("cut \\ud83d", '{"text":"\ufffd"}')


def test_parquet_goes_to_a_folder_whose_name_means_something_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "it's [1]*?"
    folder.mkdir()
    write([COMPLETED], str(folder / "r.parquet"), Form.PARQUET)
    assert [path.name for path in folder.iterdir()] == ["r.parquet"]


def test_a_table_that_cannot_hold_json_of_ours_is_told_by_the_columns_alone() -> None:
    nested = {"run", "earlier_runs", "messages", "steps", "deltas", "metadata", "doubles"}
    for name in nested:
        assert COLUMNS[NAMES.index(name)].kind is Kind.TEXT
    assert json.loads(str(cell(replace(COMPLETED, doubles=("run_9",)), "doubles"))) == ["run_9"]
    assert cell(replace(COMPLETED, state=JobState.FAILED), "state") == "failed"


def test_without_duckdb_parquet_tells_what_to_install_and_csv_goes_on(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT_DUCKDB, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.stderr == ""
    assert child.stdout == (
        "1\n--format: parquet needs duckdb, which is not installed; pip install 'runner[parquet]'\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


WITHOUT_DUCKDB = """
import sys
from runner.core.errors import UsageError
from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.export.write import Form, write
assert "duckdb" not in sys.modules, "imported before it is needed"
sys.modules["duckdb"] = None
rows = [Outcome("b", "c", 1, JobState.QUEUED, None)]
print(write(rows, sys.argv[1] + "/r.csv", Form.CSV))
try:
    write(rows, sys.argv[1] + "/r.parquet", Form.PARQUET)
except UsageError as told:
    print(told)
"""
