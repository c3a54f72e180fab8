"""A byte-level corpus: each file of `corpus/` beside what every line of it must give.

In `verdicts.json` a good line is "LINE CUSTOM_ID DIGEST" and a complaint "LINE: field: what". What
ends in "…" is a beginning: the words of a syntax error are the Python version's. The digests are
golden: jobs without a custom_id are known by them, so no release may change one.
"""

import json
from pathlib import Path

import pytest

from runner.core.model import Accepted, BadLine, Complaint, JobSpec, RawFields
from runner.manifest.reader import read
from runner.manifest.rejects import told

CORPUS = Path(__file__).parent / "corpus"
VERDICTS: dict[str, list[str]] = json.loads((CORPUS / "verdicts.json").read_text())


def accept(line: bytes, fields: RawFields) -> Accepted | list[Complaint]:
    del fields
    return Accepted(None, line, b"")


def verdicts(file: Path) -> list[str]:
    given: list[str] = []
    with file.open("rb") as source:
        for each in read(source, accept):
            if isinstance(each, JobSpec):
                name = each.custom_id
                shown = name if name is None or len(name) < 50 else len(name)
                given.append(f"{each.line} {shown!r} {each.digest.hex()}")
            elif isinstance(each, BadLine):
                given += [line.removeprefix(f"{file.name}:") for line in told(each, file.name)]
    return given


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_each_line_of_the_corpus_gets_its_verdict(name: str) -> None:
    given = verdicts(CORPUS / name)

    assert len(given) == len(VERDICTS[name])
    for verdict, expected in zip(given, VERDICTS[name], strict=True):
        if expected.endswith("…"):
            assert verdict.startswith(expected[:-1])
        else:
            assert verdict == expected


def test_every_file_of_the_corpus_has_verdicts() -> None:
    assert {file.name for file in CORPUS.glob("*.jsonl")} == set(VERDICTS)


def test_a_mark_and_windows_line_endings_change_no_digest() -> None:
    windows, unix = (verdicts(CORPUS / name) for name in ("bom_crlf.jsonl", "no_bom_lf.jsonl"))

    assert windows == unix
