"""What a person can cause, as one line and an exit code.

RunnerError
├── UsageError      exit 2: wrong settings, unreadable input, a database that cannot be used
├── Stopped         exit 3: stopped before the end; the same command resumes
└── LeaseLost       never shown: a worker that lost its lease lets go of the job

A fault of the server is not here: it is a value that travels (`core.faults.Fault`). A bug is any
other exception and shows its traceback.
"""


class RunnerError(Exception):
    """A mistake or a trouble that one line can tell: what is wrong, where, and what to do.

    `where` is a file and line, a custom_id or a setting's name; `remedy` is an imperative.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.remedy}" if self.remedy else head


class UsageError(RunnerError):
    """Wrong usage or settings, unreadable input, a database that cannot be used (exit 2)."""


class Stopped(RunnerError):
    """Stopped before the end: interrupt, drain, circuit breaker, budget of time or money (exit 3)."""

    exit_code = 3


class LeaseLost(RunnerError):
    """A write found that another worker holds the job: let go of the job, never of an answer."""


def quoted(value: object) -> str:
    """Return a value for an error's text: in quotes, cut at 60 characters."""
    text = str(value)
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
