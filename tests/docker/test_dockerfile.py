"""The image, checked without an engine; .ci/run carries out its build steps (build_steps.py)."""

import re
from pathlib import Path

import pytest
from dockerfile import DOCKERFILE, ROOT, Stage, copied, stages

PINNED = re.compile(r"[a-z][a-z0-9./-]*:\d+\.\d+\.\d+[a-z0-9.-]*(@sha256:[0-9a-f]{64})?\Z")
COMPILERS = re.compile(r"\b(gcc|g\+\+|clang|build-essential|make|cargo|rustc|apt-get|apt|pip)\b")


@pytest.fixture(scope="module")
def image() -> list[Stage]:
    return stages(DOCKERFILE.read_text("utf-8"))


def test_every_base_is_pinned_to_a_version(image: list[Stage]) -> None:
    assert len(image) == 2
    assert all(PINNED.match(stage.image) for stage in image)


def test_a_base_without_a_version_would_be_noticed() -> None:
    assert not PINNED.match("python:latest")
    assert not PINNED.match("python:3.11-slim")
    assert not PINNED.match("python")


def test_the_final_stage_installs_and_compiles_nothing(image: list[Stage]) -> None:
    assert not [run for run in image[-1].of("RUN") if COMPILERS.search(run)]


def test_only_wheels_are_installed(image: list[Stage]) -> None:
    installs = [run for run in image[0].of("RUN") if " install " in run]
    assert installs
    assert all("--only-binary=:all:" in run and "--no-cache-dir" in run for run in installs)


def test_it_runs_as_a_number_that_is_not_root(image: list[Stage]) -> None:
    words = [word for word, _ in image[-1].steps]
    (user,) = image[-1].of("USER")
    uid, gid = user.split(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000
    # A RUN or COPY after it would be done by that user; what runs at last is what counts.
    assert words.index("USER") < words.index("ENTRYPOINT")


def test_it_says_how_it_is_and_who_it_is(image: list[Stage]) -> None:
    final = image[-1]
    assert final.of("HEALTHCHECK")
    assert final.of("ENTRYPOINT") == ['["runner"]']
    assert final.of("STOPSIGNAL") == ["SIGTERM"]
    labels = " ".join(final.of("LABEL"))
    for name in ("title", "description", "licenses", "version", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert f"{final.image}" in labels


def test_it_writes_only_where_it_has_a_volume(image: list[Stage]) -> None:
    final = image[-1]
    assert final.of("VOLUME") == ['["/data"]']
    assert final.of("WORKDIR") == ["/data"]
    assert "PYTHONDONTWRITEBYTECODE=1" in " ".join(final.of("ENV"))


def test_what_it_copies_is_there_and_let_through(image: list[Stage]) -> None:
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    names = {
        name
        for stage in image
        for rest in stage.of("COPY")
        if "--from=" not in rest
        for name in copied(rest)[0]
    }
    assert all((ROOT / name).exists() for name in names)
    assert names == let_through


def test_its_version_is_the_projects(image: list[Stage]) -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert image[-1].of("ARG") == [f"VERSION={version[1]}"]
    tag = f"runner:{version[1]}"
    for path in [ROOT / "docker" / "compose.yaml", *(ROOT / "docker" / "kubernetes").glob("*")]:
        used = set(re.findall(r"image: (runner:\S+)", Path(path).read_text("utf-8")))
        assert used <= {tag}
