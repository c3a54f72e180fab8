"""A skip is a failure where RUNNER_TEST_NO_SKIP is set, as .ci/run sets it."""

import os
from collections.abc import Generator

import pytest

NO_SKIP = bool(os.environ.get("RUNNER_TEST_NO_SKIP"))  # noqa: TID251 - a switch of the tests' own
"""A skip fails: what is skipped where everything is installed would be skipped for ever."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as skipped too, and is none.
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
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
