"""Carry out the image's own steps without an engine, in a clean folder, and try what they made.

    PYTHONPATH=tests python3 tests/docker/build_steps.py FOLDER

The build stage's COPY and RUN are done as they stand in the Dockerfile, in an empty environment,
with /src and /opt/runner moved below FOLDER. What the final stage copies is copied after it, made
read-only, and runs the README's main job.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dockerfile import DOCKERFILE, ROOT, copied, stages

INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "HOME")
"""How this machine reaches a package index; all else of its environment stays outside."""


def main(folder: Path) -> None:
    build, final = stages(DOCKERFILE.read_text("utf-8"))
    tools = folder / "bin"
    tools.mkdir(parents=True)
    (tools / "python").symlink_to(sys.executable)
    given = {name: os.environ[name] for name in INDEX if name in os.environ}  # noqa: TID251 - the child's environment
    env = {**given, "PATH": f"{tools}:/usr/bin:/bin"}
    source = folder / "src"
    source.mkdir()
    for word, rest in build.steps:
        if word == "COPY":
            for name in copied(rest)[0]:
                copy(ROOT / name, source / name)
        elif word == "RUN":
            command = rest.replace("/opt/runner", str(folder / "opt" / "runner"))
            print("RUN", command, flush=True)
            subprocess.run(["/bin/sh", "-ec", command], cwd=source, env=env, check=True)
    for rest in final.of("COPY"):
        if "--from=" not in rest:
            (name,), target = copied(rest)
            copy(ROOT / name, folder / target.lstrip("/"))
    shutil.rmtree(source)
    data = folder / "data"
    data.mkdir()
    runner = folder / "opt" / "runner" / "bin" / "runner"
    hello = folder / "usr" / "share" / "runner" / "jobs" / "hello.jsonl"
    hello_run = [str(runner), "run", str(hello), "--simulate", "--out", "-"]
    out = subprocess.run(
        hello_run, cwd=data, env={"PATH": env["PATH"]}, stdout=subprocess.PIPE, check=True
    ).stdout
    rows = out.count(b"\n")
    wanted = sum(1 for line in hello.read_bytes().splitlines() if line)
    if rows != wanted:
        raise SystemExit(f"{hello}: {rows} rows of {wanted}")
    print(f"the image's files run {hello.name}: {rows} rows")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
