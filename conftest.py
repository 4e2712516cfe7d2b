"""For every test and every example in the documents: stay on loopback, skip nothing required."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import loopback
import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"]
).pytest()

# A skip whose reason holds one of these words is a failure: CHANGEHOOK_REQUIRE=curl,openssl
REQUIRED = [word for word in os.environ.get("CHANGEHOOK_REQUIRE", "").split(",") if word]

loopback.watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Fail a test that tried to leave loopback, also when it caught the refusal."""
    report = yield from demand()
    if loopback.left:
        report.outcome = "failed"
        report.longrepr = "tried to leave loopback: " + ", ".join(loopback.left)
        loopback.left.clear()
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """Fail a module that was skipped for lack of something required."""
    return (yield from demand())


def demand() -> Generator[None, Any, Any]:
    """Make a failure of a report of a skip whose reason names something required."""
    report = yield
    reason = str(report.longrepr) if report.skipped else ""
    missing = [word for word in REQUIRED if word in reason]
    if missing and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"required here: {', '.join(missing)}; the test was skipped: {reason}"
    return report
