"""A skip is a failure where RUNNER_TEST_NO_SKIP is set, as .ci/run sets it.

But for what no installation can mend: a machine (a container, most often) that does not let its root
make network namespaces.
"""

import os
from collections.abc import Generator

import pytest

NO_SKIP = bool(os.environ.get("RUNNER_TEST_NO_SKIP"))  # noqa: TID251 - a switch of the tests' own
"""A skip fails: what is skipped where everything is installed would be skipped for ever."""


NOT_ALLOWED = "this machine does not allow"
"""With these words begins the reason of a skip that stays one."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as skipped too, and is none.
    expected = hasattr(report, "wasxfail") or f"Skipped: {NOT_ALLOWED}" in _reason(report)
    if NO_SKIP and report.skipped and not expected:
        report.outcome = "failed"
        report.longrepr = f"skipped, and RUNNER_TEST_NO_SKIP is set: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, and RUNNER_TEST_NO_SKIP is set: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    told = report.longrepr
    return str(told[2]) if isinstance(told, tuple) else str(told)
