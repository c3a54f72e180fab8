"""A manifest that a process of its own reads gives what it gives when it is read here."""

import gzip
import io
import json
from pathlib import Path

import pytest

from runner.core.errors import RunnerError, UsageError
from runner.core.model import BadLine, JobSpec
from runner.manifest.reader import LONGEST_LINE, Remark
from runner.work.reading import CHUNK, Entry, Recipe, chunks, chunks_apart, entries

RECIPE = Recipe("openai", {"tag": "runner"}, lenient=False)


def line(number: int, **more: object) -> bytes:
    job = {"custom_id": f"job-{number}", "thread_id": f"thread_{number}", "assistant_id": "asst_1"}
    return json.dumps({**job, **more}).encode() + b"\n"


def here(path: Path) -> list[Entry]:
    read = entries(str(path), io.BytesIO(), RECIPE.check(), LONGEST_LINE)
    return [entry for chunk in chunks(read) for entry in chunk]


def apart(path: Path) -> list[Entry]:
    with chunks_apart(str(path), RECIPE, LONGEST_LINE) as read:
        return [entry for chunk in read for entry in chunk]


def said(error: RunnerError) -> tuple[type[RunnerError], str, int]:
    return type(error), str(error), error.exit_code


def test_good_lines_bad_lines_and_remarks_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    odd = [b"no json\n", b"\n", line(7, temperature="warm"), line(8, response_format="auto")]
    odd.append(line(9, additional_messages=[{"role": "user", "content": "x"}] * 40))
    path.write_bytes(b"".join([*map(line, range(CHUNK + 10)), *odd]))
    found = apart(path)
    assert found == here(path)
    kinds = {type(entry) for entry in found}
    assert kinds == {JobSpec, BadLine, Remark}


def test_what_is_packed_and_breaks_off_is_told_alike(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(map(line, range(3000))))[:-2000])
    told: list[tuple[type[RunnerError], str, int]] = []
    for read in (here, apart):
        with pytest.raises(RunnerError) as caught:
            read(path)
        told.append(said(caught.value))
    assert told[0] == told[1]
    assert "whole lines were read before" in told[0][1]


def test_what_cannot_be_opened_is_told_alike(tmp_path: Path) -> None:
    told: list[tuple[type[RunnerError], str, int]] = []
    for read in (here, apart):
        with pytest.raises(UsageError) as caught:
            read(tmp_path / "none.jsonl")
        told.append(said(caught.value))
    assert told[0] == told[1]


def test_an_empty_manifest_has_no_entries(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\n\n")
    assert apart(path) == []
