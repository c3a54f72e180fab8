"""The process that is killed: `runner run` built by the app, with a reach that kills at a point.

Called as `child.py POINT NTH DB OUT BASE_URL MANIFEST SETTINGS-JSON [FILE]`; POINT "-" kills
nowhere. With FILE one of its worker processes is killed, the one that makes that file. The killers
live here and never in runner/.
"""

import json
import os
import signal
import sys
from pathlib import Path

from runner.app import Commands
from runner.composition import Talk
from runner.config import load
from runner.core.errors import RunnerError
from runner.core.points import Point, Reach


def killer(name: str, nth: int) -> Reach:
    seen = 0

    def reach(point: Point) -> None:
        nonlocal seen
        if point.value != name:
            return
        seen += 1
        if seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


def main() -> int:
    point, nth, db, out, base_url, manifest, settings = sys.argv[1:8]
    flags = {"db": db, "base_url": base_url, **json.loads(settings)}
    environ: dict[str, str] = {}
    if sys.argv[8:]:
        folder = Path(__file__).parent / "in_a_worker"
        environ = {"PYTHONPATH": str(folder), "TEST_KILL_AT": f"{point} {nth} {sys.argv[8]}"}
        point = "-"
    talk = Talk(warn=lambda line: print(line, file=sys.stderr, flush=True))
    try:
        with Commands(load(flags, environ), talk=talk, reach=killer(point, int(nth))) as runner:
            return runner.run([manifest], sys.stdin.buffer, out=out).exit_code
    except RunnerError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
