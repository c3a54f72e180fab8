"""The command line, `python -m runner.simulator` and `runner simulate` alike."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from runner.simulator.fates import ENDS
from runner.simulator.faults import FAULTS
from runner.simulator.settings import Settings, checked

HELP: dict[str, str] = {
    "seed": "seeds latencies, fates, faults and ids",
    "dialect": "whose /threads are served; Responses and plain requests are told by their paths",
    "duration": "a run's life: SECONDS, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA",
    "latency": "of each HTTP answer, spelt as --duration",
    "expires_after": "seconds until a run expires; 0: never",
    "cancel_lag": "seconds from a cancel to the status cancelled",
    "fate": f"shares of ends, NAME=SHARE,…; names: {', '.join(sorted(ENDS))}",
    "faults": f"shares of faults, NAME=SHARE,… or JSON; names: {', '.join(FAULTS)}",
    "faults_on": "which requests the faults befall",
    "stall": "seconds that a stalled request hangs before the connection is closed",
    "late": "seconds until a late create is carried out",
    "repeat_after": "seconds until a repeated create is carried out again",
    "close_idle": "seconds after which an idle connection is closed without notice; 0: never",
    "retry_after": "the header's value in rate_429_seconds, sent as it stands",
    "quota_after": "from this create on, answer 429 insufficient_quota",
    "limit": "creates admitted in any --window",
    "window": "seconds",
    "limit_headers": "which headers tell of the limits",
    "token_limit": "tokens admitted in any --window",
    "read_limit": "reads and lists admitted in any --window",
    "max_active": "runs active at once; more are refused with 429",
    "vague_429": "no refusal says which limit it is about",
    "list_lag": "seconds until a run shows in lists",
    "read_lag": "seconds until a run's id is known",
    "poll_after_ms": "sent as openai-poll-after-ms with each run that is read",
    "stream_drop": "share of streams cut before their end",
    "no_list": "answer 404 to lists of runs",
    "no_tags": "drop the metadata of runs",
    "no_lock": "admit several active runs on a thread",
    "keys": "honour Idempotency-Key",
    "strict_threads": "know only threads that were created",
    "strict_headers": "require the OpenAI-Beta header",
    "key": "require this API key",
    "tag": "the metadata key by which the audit finds doubles",
    "keep": "runs kept in memory; beyond it those longest at rest are dropped",
}


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen, what to remember, and what ends the server besides a signal."""

    host: str = "127.0.0.1"
    port: int = 0
    state: Path | None = None
    parent_pid: int = 0
    until_stdin_closes: bool = False


def shares(text: str) -> dict[str, float]:
    """Read `name=0.1,other=0.2`, or the same as a JSON object; ValueError if it is neither."""
    if text.lstrip().startswith("{"):
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(text)
        return {str(name): float(share) for name, share in found.items()}
    pairs = [pair.split("=") for pair in text.split(",") if pair]
    return {name.strip(): float(share) for name, share in pairs}


def parse(arguments: Sequence[str]) -> tuple[Listening, Settings]:
    """Read the flags; wrong ones end the process with exit code 2 and one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="runner simulate",
        description="Serve the Assistants-style API with faults, limits and latencies.",
        epilog="example: runner simulate --limit 200 --window 10 --faults drop_after=0.06",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, told on stdout")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the runs in this file")
    parser.add_argument("--parent-pid", type=int, default=0, metavar="PID", help="end when it ends")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end when standard input does"
    )
    defaults = Settings()
    for name, hint in get_type_hints(Settings).items():
        _add(parser, name, hint, getattr(defaults, name))
    said = vars(parser.parse_args(arguments))
    listening = Listening(
        host=said.pop("host"),
        port=said.pop("port"),
        state=said.pop("state"),
        parent_pid=said.pop("parent_pid"),
        until_stdin_closes=said.pop("until_stdin_closes"),
    )
    try:
        return listening, checked(said)
    except ValueError as error:
        parser.error(str(error))


def _add(parser: argparse.ArgumentParser, name: str, hint: object, default: object) -> None:
    flag = "--" + name.replace("_", "-")
    text = HELP[name].replace("%", "%%")
    if hint is bool:
        parser.add_argument(flag, action="store_true", help=text)
    elif isinstance(default, dict):
        parser.add_argument(flag, type=shares, default={}, metavar="SHARES", help=text)
    elif get_origin(hint) is Literal:
        parser.add_argument(flag, choices=get_args(hint), default=default, help=text)
    else:
        kind = str if isinstance(default, str) else int if isinstance(default, int) else float
        shown = f"{text} ({default})" if default else text
        parser.add_argument(flag, type=kind, default=default, metavar="X", help=shown)
