import gzip
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.core.errors import RunnerError, UsageError
from runner.core.model import Accepted, BadLine, Complaint, JobSpec, RawFields
from runner.manifest.reader import Remark, read
from runner.manifest.sources import batch_name, identity, open_manifest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOTHING = io.BytesIO()
# Numbered, so that a compressed half still holds a good share of the lines.
LINES = b"".join(b'{"custom_id":"%d","n":%d}\n' % (n, n * 7919 % 10007) for n in range(20_000))


def plain(content: bytes) -> bytes:
    return content


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def zstandard(content: bytes) -> bytes:
    return zstd.compress(content)


def skipped_first(content: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip" + zstd.compress(content)


def in_two(packing: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        half = len(content) // 2
        return packing(content[:half]) + packing(content[half:])

    return pack


PACKINGS = [
    pytest.param(plain, id="plain"),
    pytest.param(gzipped, id="gzip"),
    pytest.param(in_two(gzipped), id="two gzip members"),
    pytest.param(zstandard, id="zstd"),
    pytest.param(in_two(zstandard), id="two zstd frames"),
    pytest.param(skipped_first, id="a frame to skip"),
]


def accept(line: bytes, fields: RawFields) -> Accepted | list[Complaint]:
    del fields
    return Accepted(None, line, b"")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("content", [b"", b"{}", LINES], ids=["empty", "short", "long"])
def test_a_file_is_unpacked_by_its_first_bytes_whatever_its_name(
    packing: Callable[[bytes], bytes], content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.jsonl"
    file.write_bytes(packing(content))

    with open_manifest(str(file), NOTHING) as manifest:
        assert manifest.read() == content


@pytest.mark.parametrize("packing", PACKINGS)
def test_standard_input_is_unpacked_too_and_left_open(packing: Callable[[bytes], bytes]) -> None:
    stdin = io.BytesIO(packing(LINES))

    with open_manifest("-", stdin) as manifest:
        assert manifest.read() == LINES

    assert not stdin.closed


class Trickle(io.BytesIO):
    """A standard input that gives one byte a read."""

    def read1(self, size: int | None = -1, /) -> bytes:
        del size
        return self.read(1)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_source_that_trickles_is_known_by_its_first_bytes_too(
    packing: Callable[[bytes], bytes],
) -> None:
    with open_manifest("-", Trickle(packing(b'{"a":1}\n{}\n'))) as manifest:
        assert manifest.read() == b'{"a":1}\n{}\n'

    with (
        pytest.raises(UsageError, match="is UTF-16"),
        open_manifest("-", Trickle(packing("{}\n".encode("utf-16")))),
    ):
        pass


@pytest.mark.timeout(20)  # a reader that waits for more than there is would wait for ever
def test_a_pipe_gives_its_first_line_while_its_writer_still_writes() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as writer:
        writer.write(b'{"a')
        writer.write(b'":1}\n')
        with open_manifest("-", stdin) as manifest:
            assert manifest.readline() == b'{"a":1}\n'
            writer.write(b"{}\n")
            assert manifest.readline() == b"{}\n"


@pytest.mark.parametrize("packing", [gzipped, zstandard])
@pytest.mark.parametrize("stdin", [False, True])
def test_a_cut_file_tells_how_many_whole_lines_came_before(
    packing: Callable[[bytes], bytes],
    stdin: bool,
    tmp_path: Path,
) -> None:
    packed = packing(LINES)
    cut = packed[: len(packed) * 3 // 4]
    file = tmp_path / "sweep.jsonl.packed"
    file.write_bytes(cut)
    path, where = ("-", "standard input") if stdin else (str(file), str(file))
    seen: list[JobSpec | BadLine | Remark] = []

    with (
        pytest.raises(RunnerError) as error,
        open_manifest(path, io.BytesIO(cut)) as manifest,
    ):
        seen.extend(read(manifest, accept))

    assert 0 < len(seen) < 20_000
    assert [each.custom_id for each in seen if isinstance(each, JobSpec)] == [
        str(number) for number in range(len(seen))
    ]
    assert str(error.value).startswith(
        f"{where}: is cut off inside its compressed bytes; "
        f"{len(seen):,} whole lines were read before; "
    )


@pytest.mark.parametrize("packing", [gzipped, zstandard])
def test_a_file_cut_in_its_first_bytes_is_told(packing: Callable[[bytes], bytes]) -> None:
    with (
        pytest.raises(RunnerError, match="is cut off inside its compressed bytes; 0 whole lines"),
        open_manifest("-", io.BytesIO(packing(LINES)[:7])),
    ):
        pass


@pytest.mark.parametrize("packing", [gzipped, zstandard])
def test_damaged_bytes_are_told_with_the_file(packing: Callable[[bytes], bytes]) -> None:
    packed = bytearray(packing(LINES))
    middle = len(packed) // 2
    packed[middle : middle + 64] = b"\xff" * 64

    with (
        pytest.raises(RunnerError, match=r"^standard input: has damaged compressed bytes \('.*'\)"),
        open_manifest("-", io.BytesIO(packed)) as manifest,
    ):
        list(read(manifest, accept))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('{"a":1}\n'.encode("utf-16"), "UTF-16"),
        ('{"a":1}\n'.encode("utf-16-be"), "UTF-16"),
        ('{"a":1}\n'.encode("utf-16-le"), "UTF-16"),
        ("\ufeff{}\n".encode("utf-16-be"), "UTF-16"),
        ('{"a":1}\n'.encode("utf-32"), "UTF-32"),
        ('{"a":1}\n'.encode("utf-32-be"), "UTF-32"),
        ('{"a":1}\n'.encode("utf-32-le"), "UTF-32"),
        ("\ufeff{}\n".encode("utf-32-be"), "UTF-32"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\x00\x00", "xz"),
        (b"PK\x03\x04\x14\x00", "zip"),
        (b"PAR1\x15\x04", "Parquet"),
    ],
)
@pytest.mark.parametrize("packing", [plain, gzipped, zstandard])
def test_what_is_not_utf_8_lines_is_refused_with_its_name(
    content: bytes, name: str, packing: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    file = tmp_path / "sweep.jsonl"
    file.write_bytes(packing(content))

    with (
        pytest.raises(UsageError, match=rf"sweep\.jsonl: is {name}; "),
        open_manifest(str(file), NOTHING),
    ):
        pass


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "none.jsonl"

    with pytest.raises(UsageError) as error, open_manifest(str(missing), NOTHING):
        pass
    assert str(error.value) == f"{missing}: no such file; check the path"

    with pytest.raises(UsageError) as error, open_manifest(str(tmp_path), NOTHING):
        pass
    assert str(error.value) == f"{tmp_path}: is a directory; name the files in it"

    with pytest.raises(UsageError, match="no such file"):
        identity(str(missing))

    with (
        pytest.raises(UsageError, match=r"cannot be read: file name too long"),
        open_manifest("x" * 5000, NOTHING),
    ):
        pass


def test_an_identity_changes_with_each_write_and_with_a_replacement(tmp_path: Path) -> None:
    file = tmp_path / "sweep.jsonl"
    file.write_bytes(b"{}\n")
    first = identity(str(file))
    assert first == identity(str(file))

    file.write_bytes(b"[]\n{}\n")
    second = identity(str(file))
    assert second != first

    times = file.stat()
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"{}\n[]\n")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert identity(str(file)) not in (first, second)


def test_standard_input_and_pipes_have_no_identity(tmp_path: Path) -> None:
    assert identity("-") is None
    assert identity(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sweep.jsonl", "sweep"),
        ("runs/sweep.jsonl.gz", "sweep"),
        ("/data/Sweep.JSONL.ZST", "Sweep"),
        ("eval.v2.ndjson", "eval.v2"),
        ("nightly-2026.11.24.jsonl", "nightly-2026.11.24"),
        ("lines", "lines"),
        ("lines.dat", "lines.dat"),
        (".jsonl", ".jsonl"),
        (".jsonl.gz", ".jsonl"),
    ],
)
def test_a_batch_is_named_after_its_manifest(path: str, name: str) -> None:
    assert batch_name(path) == name


def test_standard_input_gives_a_batch_no_name() -> None:
    with pytest.raises(UsageError, match="--batch"):
        batch_name("-")
