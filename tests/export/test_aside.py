import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from export.samples import COMPLETED
from forked import PIPE, Forked

from runner.core.errors import Stopped, UsageError
from runner.core.outcome import Outcome
from runner.core.points import Point
from runner.export.aside import aside, check_target, is_straight, part_file
from runner.export.row import row_line
from runner.export.write import Form, write

CHILD = """
import os, resource, signal, sys
from runner.core.errors import RunnerError
from runner.core.model import JobState
from runner.core.outcome import Outcome
from runner.core.points import Point
from runner.export.write import Form, write

out, form, point, rows, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))

def reach(here):
    if here == point:
        os.kill(os.getpid(), signal.SIGKILL)

def outcomes():
    for line in range(int(rows)):
        # Text that does not shrink, so that Parquet meets the limit too.
        run = b'{"id":"%b"}' % os.urandom(500).hex().encode()
        state = JobState.SUCCEEDED if line % 2 else JobState.FAILED
        yield Outcome("b", f"case-{line}", line, state, "completed", run=run)

try:
    write(outcomes(), out, Form(form), reach=reach)
except RunnerError as told:
    print(told, file=sys.stderr)
    sys.exit(told.exit_code)
"""


ROWS_OF_900_KB = 560  # about 1.6 kB each when staged for Parquet


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def export(out: str, form: Form, *, point: str = "", rows: int = 10, file_limit: int = 0) -> Ended:
    words = (out, form, point, rows, file_limit)
    child = Forked("", *words, source=CHILD, stdout=PIPE, stderr=PIPE)
    said = child.communicate(timeout=60)
    return Ended(child.wait(), *said)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", list(Form))
def test_a_kill_before_the_rename_leaves_the_old_file_and_the_next_export_tidies_up(
    form: Form, tmp_path: Path
) -> None:
    out = tmp_path / "r.out"
    out.write_bytes(b"old")
    killed = export(str(out), form, point=Point.EXPORT_BEFORE_RENAME)
    assert killed.returncode == -signal.SIGKILL
    assert out.read_bytes() == b"old"
    assert any(name.endswith(".part") for name in names(tmp_path))

    assert export(str(out), form).returncode == 0
    assert out.read_bytes() != b"old"
    batch = ["r.errors.out"] if form is Form.BATCH else []
    assert names(tmp_path) == [*batch, "r.out"]


def test_a_kill_after_the_rename_leaves_the_whole_new_file(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(b"old")
    killed = export(str(out), Form.JSONL, point=Point.EXPORT_AFTER_RENAME)
    assert killed.returncode == -signal.SIGKILL
    assert out.read_bytes().count(b"\n") == 10
    assert names(tmp_path) == ["r.jsonl"]


@pytest.mark.parametrize("form", list(Form))
def test_no_room_leaves_the_old_file_says_one_line_and_exits_3(form: Form, tmp_path: Path) -> None:
    out = tmp_path / "r.out"
    out.write_bytes(b"old")
    stopped = export(str(out), form, rows=3000, file_limit=500_000)
    (said,) = stopped.stderr.splitlines()
    assert said.removeprefix(str(tmp_path)) in {
        f"/{name}: disk full, or a quota reached: the results were not written;"
        " make room and give the same command again"
        for name in ("r.out", "r.errors.out")
    }
    assert stopped.returncode == Stopped.exit_code
    assert out.read_bytes() == b"old"
    assert names(tmp_path) == ["r.out"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if mounted.returncode:
        pytest.skip(f"mounting needs rights: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=20)


@pytest.mark.parametrize("form", [Form.JSONL, Form.PARQUET])
def test_a_disk_of_one_megabyte_keeps_the_old_file(form: Form, tiny_disk: Path) -> None:
    out = tiny_disk / "r.out"
    out.write_bytes(b"old")
    stopped = export(str(out), form, rows=3000)
    assert (stopped.returncode, stopped.stderr.count("\n")) == (Stopped.exit_code, 1)
    assert "disk full" in stopped.stderr
    assert (out.read_bytes(), names(tiny_disk)) == (b"old", ["r.out"])
    assert export(str(out), form, rows=10).returncode == 0


def test_a_disk_with_room_for_the_staged_rows_only_keeps_the_old_file(tiny_disk: Path) -> None:
    out = tiny_disk / "r.parquet"
    out.write_bytes(b"old")
    stopped = export(str(out), Form.PARQUET, rows=ROWS_OF_900_KB)
    assert (stopped.returncode, stopped.stderr.count("\n")) == (Stopped.exit_code, 1)
    assert "disk full" in stopped.stderr
    assert (out.read_bytes(), names(tiny_disk)) == (b"old", ["r.parquet"])


def test_a_full_device_stops_a_straight_export_with_one_line() -> None:
    stopped = export("/dev/full", Form.JSONL)
    assert stopped.returncode == Stopped.exit_code
    assert stopped.stderr.startswith("/dev/full: disk full")


@pytest.mark.parametrize("out", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_gets_the_rows_and_nothing_else(out: str) -> None:
    done = export(out, Form.JSONL, rows=3)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 3


@pytest.mark.parametrize("form", [Form.JSONL, Form.PARQUET])
def test_a_reader_that_leaves_ends_the_export_quietly(form: Form) -> None:
    child = Forked("", "-", form, "", 20_000, 0, source=CHILD, stdout=PIPE, stderr=PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.buffer.read(1)
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert (child.wait(timeout=60), said) == (0, "")


def test_a_standard_output_that_is_closed_is_told(tmp_path: Path) -> None:
    said = tmp_path / "said"
    child = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" - jsonl "" 1 0 >&- 2>"$2"', sys.executable, CHILD, said],
        check=False,
        timeout=60,
    )
    assert child.returncode == UsageError.exit_code
    assert said.read_text().startswith("standard output: cannot be written: bad file descriptor")


def test_a_pipe_is_written_straight(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as cat:
        assert write([COMPLETED], str(pipe), Form.JSONL) == 1
        assert cat.stdout is not None
        assert cat.stdout.read() == row_line(COMPLETED)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_straight() -> None:
    assert write([COMPLETED], os.devnull, Form.JSONL) == 1
    assert is_straight(os.devnull)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(b"old and whole")
    with out.open("rb") as reader:
        assert reader.read(3) == b"old"
        write([COMPLETED], str(out), Form.JSONL)
        assert reader.read() == b" and whole"


def test_a_trouble_inside_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(b"old")

    def fail_half_way() -> None:
        with aside(str(out)) as sink:
            sink.write(b"new" * (1 << 20))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert (out.read_bytes(), names(tmp_path)) == (b"old", ["r.jsonl"])


def test_the_points_are_reached_around_the_rename(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    seen: list[tuple[Point, bool]] = []
    with aside(str(out), lambda point: seen.append((point, out.exists()))) as sink:
        sink.write(b"x")
    assert seen == [(Point.EXPORT_BEFORE_RENAME, False), (Point.EXPORT_AFTER_RENAME, True)]


def test_a_link_and_permissions_are_kept_and_a_new_file_obeys_the_umask(tmp_path: Path) -> None:
    real, link, fresh = tmp_path / "real", tmp_path / "link", tmp_path / "fresh"
    real.write_bytes(b"old")
    real.chmod(0o604)
    link.symlink_to(real)
    before = os.umask(0o027)
    try:
        for out in (link, fresh):
            write([COMPLETED], str(out), Form.JSONL)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert real.read_bytes() == row_line(COMPLETED)
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o640


def test_two_exports_to_one_name_do_not_take_each_others_parts_for_dead(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    with aside(str(out)) as first:
        first.write(b"first")
        with aside(str(out)) as second:
            second.write(b"second")
        assert out.read_bytes() == b"second"
    assert (out.read_bytes(), names(tmp_path)) == (b"first", ["r.jsonl"])


def test_a_name_of_255_bytes_has_room_for_its_part(tmp_path: Path) -> None:
    name = "é" * 127 + "x"
    with part_file(tmp_path, name, told=name) as part:
        assert Path(part.name).parent == tmp_path
    assert write([COMPLETED], str(tmp_path / name), Form.JSONL) == 1


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("", "--out: no file is named; name a file, or - for stdout"),
        ("{d}", "{d}: is a folder; name a file in it"),
        ("{d}/new/", "{d}/new/: is a folder; name a file in it"),
        ("{d}/no/r.jsonl", "{d}/no/r.jsonl: there is no folder '{d}/no'; make it first"),
        ("{d}/file/r", "{d}/file/r: there is no folder '{d}/file'; make it first"),
    ],
)
def test_a_target_that_cannot_be_is_told_before_anything_is_read(
    out: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    named = out.format(d=tmp_path)

    def read(_: int) -> Outcome:
        pytest.fail("outcomes were read")

    with pytest.raises(UsageError) as told:
        write(map(read, [1]), named, Form.JSONL)
    assert str(told.value) == said.format(d=tmp_path)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of one's own, and the rights of an ordinary user: root may write everywhere."""
    nobody = 65534
    folder = Path(tempfile.mkdtemp())
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, nobody, nobody)
        os.setresuid(nobody, nobody, 0)
    try:
        yield folder
    finally:
        if was_root:
            os.setresuid(0, 0, 0)
        shutil.rmtree(folder)


def test_a_target_without_rights_is_told(as_nobody: Path) -> None:
    locked = as_nobody / "r.jsonl"
    locked.write_bytes(b"")
    locked.chmod(0o400)
    with pytest.raises(UsageError, match="is not writable"):
        check_target(str(locked))
    as_nobody.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="is not writable"):
            check_target(str(as_nobody / "new.jsonl"))
    finally:
        as_nobody.chmod(0o700)
