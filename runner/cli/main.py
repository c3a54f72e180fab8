"""The `runner` command: its sub-commands, and the one place where an error becomes a line.

Nothing heavy is imported here, or `runner --help` would wait for it: each command imports the app
when it runs.
"""

import contextlib
import io
import os
import signal
import sys
from typing import Annotated

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import Shells, get_completion_script, install

from runner import __version__
from runner.cli import (
    audit,
    cancel,
    check,
    db,
    export,
    probe,
    queue,
    retry,
    show,
    simulate,
    status,
    work,
)
from runner.cli import run as run_command
from runner.cli.given import put
from runner.cli.options import Loaded, ReaderGoneError
from runner.core.errors import RunnerError, UsageError

NAME = "runner"
COMPLETE = "_RUNNER_COMPLETE"
"""The variable by which a shell asks for completions."""
STOPPED = 3

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    # Typer's own options guess the shell and take no name: `--show-completion bash` would fail.
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        put(f"runner {__version__}")
        raise typer.Exit


def _show_completion(shell: Shells | None) -> None:
    if shell is not None:
        put(get_completion_script(prog_name=NAME, complete_var=COMPLETE, shell=shell.value))
        raise typer.Exit


def _install_completion(shell: Shells | None) -> None:
    if shell is not None:
        _, path = install(shell=shell.value, prog_name=NAME, complete_var=COMPLETE)
        put(f"completion for {shell.value} is in {path}; open a new shell to have it")
        raise typer.Exit


@app.callback(epilog="Example: runner run jobs/hello.jsonl --simulate")
def main(
    *,
    _version_asked: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
    _shown: Annotated[
        Shells | None,
        typer.Option(
            "--show-completion",
            help="Print the completion script of a shell.",
            callback=_show_completion,
            is_eager=True,
            show_default=False,
        ),
    ] = None,
    _installed: Annotated[
        Shells | None,
        typer.Option(
            "--install-completion",
            help="Install completion for a shell.",
            callback=_install_completion,
            is_eager=True,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Carry thousands of LLM runs, none lost, none paid twice.

    Exit codes: 0 all succeeded, 1 some did not, 2 wrong usage, 3 stopped before the end.
    """


for name, command, example in (
    ("run", run_command.run, run_command.EXAMPLE),
    ("check", check.check, check.EXAMPLE),
    ("queue", queue.queue, queue.EXAMPLE),
    ("work", work.work, work.EXAMPLE),
    ("status", status.status, status.EXAMPLE),
    ("show", show.show, show.EXAMPLE),
    ("export", export.export, export.EXAMPLE),
    ("retry", retry.retry, retry.EXAMPLE),
    ("cancel", cancel.cancel, cancel.EXAMPLE),
    ("probe", probe.probe, probe.EXAMPLE),
    ("audit", audit.audit, audit.EXAMPLE),
):
    app.command(name, epilog=f"\b\nExample:\n  {example}", no_args_is_help=False)(command)
app.command("simulate", add_help_option=False, context_settings=simulate.PASSED_ON)(
    simulate.simulate
)
app.add_typer(db.app, name="db")


def run() -> None:
    """Run the command line and exit with its code."""
    _hold_standard_descriptors()
    completion_init()
    loaded = Loaded()
    # Until the work has handlers of its own, which drain: what is asked to end says so, also where
    # it is the first process of a container, which ignores a signal without a handler.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _refuse_what_is_no_text()
        code = app(prog_name=NAME, standalone_mode=False, obj=loaded)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (ReaderGoneError, BrokenPipeError):
        _reader_gone()
        code = STOPPED
    except RunnerError as error:
        _tell(str(error), loaded)
        code = error.exit_code
    except typer.TyperException as error:
        code = _tell_usage(error, loaded)
    except (KeyboardInterrupt, typer.Abort):
        _tell("interrupted; the same command goes on", loaded)
        code = STOPPED
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_what_is_no_text() -> None:
    """Raise `UsageError` for a word that is not UTF-8: no database and no JSON row can hold it."""
    for word in sys.argv[1:]:
        if not word.isascii() and any("\udc80" <= sign <= "\udcff" for sign in word):
            shown = word.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise UsageError(
                "is not UTF-8 text", where=shown, remedy="rename the file, or give another name"
            )


def _tell(line: str, loaded: Loaded) -> None:
    """Say in one line why the command ends."""
    from runner.cli.words import shown

    text = shown(line, 2000)
    if loaded.settings is not None:
        from runner.cli.opened import teller_of

        teller_of(loaded.settings).fail(text)
    elif sys.stderr is not None:
        print(f"runner: {text}", file=sys.stderr)  # noqa: T201 - the error line


def _tell_usage(error: typer.TyperException, loaded: Loaded) -> int:
    """Say what is wrong with the command line; without any words the help says it."""
    message = error.format_message()
    if "\n" in message:
        print(message, file=sys.stderr)  # noqa: T201 - the help
    else:
        text = message[:1].lower() + message[1:].rstrip(".")
        context = getattr(error, "ctx", None)
        path = getattr(context, "command_path", NAME)
        _tell(f"{text}; see `{path} --help`", loaded)
    return 2


def _hold_standard_descriptors() -> None:
    """Keep 0, 1 and 2 from going to a file that is opened later, where the caller closed them.

    With `--out - >&-` the results would go into whatever got descriptor 1: SQLite keeps its files
    above 2 by itself, a socket to PostgreSQL or a lock file does not. Opened for reading, so that
    writing there fails and is told.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that is not UTF-8 must not end a command at the first dash.
            stream.reconfigure(errors="backslashreplace")


def _reader_gone() -> None:
    """Let the interpreter's last flush go nowhere: `… | head` is no error, and says nothing."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
