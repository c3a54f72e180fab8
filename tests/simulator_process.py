"""A simulator in a process of its own, for any test: real sockets, real kills."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from forked import PIPE, Forked

START_LIMIT_S = 30.0
# Never through a proxy of the machine's: all traffic stays on 127.0.0.1.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SimulatorProcess:
    """`python -m runner.simulator` with `flags`, listening when the constructor returns.

    `state`: a journal file, so that another one started with it knows the runs of this one. It
    ends with its context, and with the test process however that ends (its stdin closes).
    """

    def __init__(self, *flags: object, state: Path | None = None, port: int = 0) -> None:
        words = ["--until-stdin-closes", "--port", port, *flags]
        if state is not None:
            words += ["--state", state]
        self.process = Forked("runner.simulator", *words, stdin=PIPE, stdout=PIPE)
        if self.process.stdout is None:
            raise TypeError("no stdout")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator ended with {self._end()}")
        self.port: int = json.loads(line)["port"]
        self.url: str = json.loads(line)["url"]
        self.root = self.url.removesuffix("/v1")

    def get(self, path: str) -> dict[str, object]:
        """Return the JSON of `GET path` (from the root: `/_audit`, `/v1/threads/…`)."""
        return self._ask(urllib.request.Request(self.root + path))

    def read(self, path: str) -> bytes:
        """Return the body of `GET path` as it came."""
        with urllib.request.urlopen(self.root + path, timeout=30) as answer:
            body: bytes = answer.read()
        return body

    def post(self, path: str, body: object) -> dict[str, object]:
        """Return the JSON of `POST path`; urllib.error.HTTPError where it is refused."""
        text = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return self._ask(urllib.request.Request(self.root + path, text, headers, method="POST"))

    def audit(self) -> "Audited":
        """Return what the server saw."""
        return Audited(self.get("/_audit"))

    def runs(self) -> dict[str, dict[str, object]]:
        """Return every run object by id."""
        return {name: _object(run) for name, run in self.get("/_runs").items()}

    def bodies(self) -> dict[str, dict[str, object]]:
        """Return the newest create bodies by run id."""
        return {name: _object(body) for name, body in self.get("/_bodies").items()}

    def set(self, **settings: object) -> None:
        """Change settings at run time: `faults={}` heals the server."""
        self.post("/_set", settings)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.terminate()
        return self._end()

    def _end(self) -> int:
        code = self.process.wait(START_LIMIT_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    @staticmethod
    def _ask(request: urllib.request.Request) -> dict[str, object]:
        with _DIRECT.open(request, timeout=START_LIMIT_S) as answer:
            return _object(json.load(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._end()


class Audited:
    """The audit's figures by name."""

    def __init__(self, told: dict[str, object]) -> None:
        self.told = told

    def count(self, name: str, among: str = "counts") -> int:
        """Return a count; `among`: counts, faults, refusals, answers, headers or statuses."""
        value = _object(self.told[among]).get(name, 0)
        return value if isinstance(value, int) else 0

    def number(self, name: str) -> float:
        """Return a figure of the top level, such as `runs`, `active_max` or `window_max`."""
        value = self.told[name]
        if not isinstance(value, int | float):
            raise TypeError(name)
        return value

    def repeated(self, by: str) -> dict[str, list[str]]:
        """Return {value: run ids} of those on more than one run; `by`: tag, key or case."""
        return dict(_lists(_object(self.told[f"duplicates_by_{by}"])))


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"no object: {value!r}")
    return value


def _lists(found: dict[str, object]) -> Iterator[tuple[str, list[str]]]:
    for value, names in found.items():
        if isinstance(names, list):
            yield value, [str(name) for name in names]
