"""Fails a run of the tests unless exactly those are skipped that are expected to be.

A test that needs root, or what not every system has, skips itself where that is missing. So that
none vanishes unseen where all is there, the environment variable FILEXFER_SKIPS names a list of
the tests that may be skipped: one a line, as pytest names it, without ``[...]`` for all of its
parameters, and with a remark after ``#``. One behind a ``?`` may run or not: it depends on more than
what can be installed, such as the kernel. Tests that are left out by ``-m`` or ``-k`` do not count.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "FILEXFER_SKIPS"


def watch(config: pytest.Config) -> None:
    """Watch the tests of this run, if the variable is set."""
    path = os.environ.get(VARIABLE)
    if path and not hasattr(config, "workerinput"):  # the process that hears of all tests
        with open(path, encoding="utf-8") as file:
            config.pluginmanager.register(Watch(expected(file)))


def expected(lines: Iterable[str]) -> set[str]:
    """Return the tests that a list names."""
    return {name for line in lines if (name := line.partition("#")[0].strip())}


def without_parameters(name: str) -> str:
    """Return the name of a test without its parameters."""
    return name.partition("[")[0]


class Watch:
    """Takes down what is skipped, and judges it at the end."""

    def __init__(self, may_be: set[str]) -> None:
        self._may_be = may_be
        self._ran: set[str] = set()
        self._skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ran.add(report.nodeid)
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:  # a whole file
            self._ran.add(report.nodeid)
            self._skipped.add(report.nodeid)

    def wrong(self) -> list[str]:
        """Return what is not as expected, as lines."""
        found = []
        for name in sorted(self._ran):
            if f"? {without_parameters(name)}" in self._may_be:
                continue
            is_expected = name in self._may_be or without_parameters(name) in self._may_be
            if is_expected != (name in self._skipped):
                found.append(f"{'should be skipped and ran' if is_expected else 'skipped'}: {name}")
        return found

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.wrong() and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if found := self.wrong():
            terminalreporter.section(f"not the skips that {VARIABLE} expects", red=True)
            for line in found:
                terminalreporter.line(line)
