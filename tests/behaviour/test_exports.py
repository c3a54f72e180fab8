"""What is exported after a hard life: cases C49, C50, C52 and C53 from the manifest to the file."""

import csv
import io
import json
from pathlib import Path

import duckdb
from behaviour.stage import Line, Stage

EVIL = ('=HYPERLINK("http://x")', "@SUM(1)", "\t=1", "-2+3")


def exported(stage: Stage, form: str, *, formulas: bool = False) -> Path:
    out = stage.folder / f"x.{form}"
    with stage.runner() as runner:
        runner.export(None, str(out), form=form, formulas=formulas)
    return out


def json_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_rows_stand_in_manifest_order_after_two_stops_and_a_retry(stage: Stage) -> None:
    stage.server.set(duration="uniform:0.01:0.5")
    lines = stage.lines(60)
    for number in range(0, 60, 7):
        lines[number]["metadata"] = {"case": f"{stage.number}-{number}", "fate": "failed:1"}
    stage.run(lines, stop_after=0.3, concurrency=8)
    stage.run(None, stop_after=0.3, concurrency=8)
    assert stage.run().exit_code == 1
    with stage.runner() as runner:
        assert runner.retry(None).jobs == 9
    assert stage.run().exit_code == 0
    names = [f"job-{number}" for number in range(60)]
    places = list(range(1, 61))
    assert [(row["custom_id"], row["line"]) for row in stage.rows()] == [
        *zip(names, places, strict=True)
    ]
    table = duckdb.read_parquet(str(exported(stage, "parquet")))
    assert table.project("custom_id, line").fetchall() == [*zip(names, places, strict=True)]
    frame = duckdb.read_csv(str(exported(stage, "csv"))).df()
    assert frame["custom_id"].tolist() == names
    for form in ("batch", "raw"):
        assert [row["custom_id"] for row in json_lines(exported(stage, form))] == names


def test_what_a_spreadsheet_would_run_is_neutral_in_csv_alone_and_by_a_flag_as_it_was(
    stage: Stage,
) -> None:
    lines: list[Line] = [stage.line(name, thread=place) for place, name in enumerate(EVIL)]
    assert stage.run(lines).exit_code == 0

    def names(path: Path) -> list[str]:
        with io.StringIO(path.read_text("utf-8"), newline="") as sheet:
            return [row["custom_id"] for row in csv.DictReader(sheet)]

    assert names(exported(stage, "csv")) == [f"'{name}" for name in EVIL]
    assert names(exported(stage, "csv", formulas=True)) == list(EVIL)
    assert [row["custom_id"] for row in stage.rows()] == list(EVIL)
    table = duckdb.read_parquet(str(exported(stage, "parquet")))
    assert [name for (name,) in table.project("custom_id").fetchall()] == list(EVIL)


def test_shapes_that_change_from_row_to_row_read_back_in_one_schema(stage: Stage) -> None:
    more: list[Line] = [
        {"tools": []},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": {}}}}]},
        {"response_format": "auto"},
        {"response_format": {"type": "json_object"}},
    ]
    lines = [{**stage.line(f"j{n}"), **one} for n, one in enumerate(more)]
    for line in lines:
        line.pop("metadata")
    assert stage.run(lines, tag="").exit_code == 0
    frame = duckdb.read_parquet(str(exported(stage, "parquet"))).df()
    runs = [json.loads(run) for run in frame["run"]]
    assert runs == [row["run"] for row in stage.rows()]
    assert [run["metadata"] for run in runs] == [{}] * 4
    assert frame["metadata"].tolist() == ["{}"] * 4
    assert runs[1]["tools"] == more[1]["tools"]
    with stage.runner() as runner:
        never = frozenset({"never"})
        empty = stage.folder / "none.parquet"
        assert runner.export(None, str(empty), form="parquet", statuses=never) == 0
    none = duckdb.read_parquet(str(empty))
    assert [*none.columns] == [*frame.columns]
    assert none.fetchall() == []


def test_a_reader_of_batch_files_counts_what_status_counts(stage: Stage) -> None:
    lines = [
        *stage.lines(3, "good"),
        *stage.lines(2, "failed", fate="failed"),
        *stage.lines(2, "rejected", fate="refused"),
        *stage.lines(1, "exhausted", fault="timeout_408:9"),
    ]
    assert stage.run(lines, max_attempts=2, doubt_wait=0.2).exit_code == 1
    good = json_lines(exported(stage, "batch"))
    bad = json_lines(stage.folder / "x.errors.batch")
    ends = stage.ends()
    assert set(ends.values()) == {
        "succeeded completed",
        "failed failed",
        "failed rejected",
        "failed exhausted",
    }
    assert [line["custom_id"] for line in good] == ["good-0", "good-1", "good-2"]
    assert {line["custom_id"] for line in bad} == ends.keys() - {"good-0", "good-1", "good-2"}
    for line in good:
        assert line["error"] is None
    codes = {str(line["custom_id"]): line["response"] for line in bad}
    rejected = codes["rejected-0"]
    assert isinstance(rejected, dict)
    assert rejected["status_code"] == 400
    assert "error" in rejected["body"]
    # A failed run was no HTTP error: its line has an error and no response.
    assert codes["failed-0"] is None
    assert all(line["error"] or line["response"] for line in bad)
