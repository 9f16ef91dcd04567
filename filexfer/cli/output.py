"""What people read of a transfer: the names of its files, what failed, and a summary at the end.

Everything in here goes to standard error.
"""

from __future__ import annotations

import sys

from filexfer.errors import ExitCode, FileError, LocalError
from filexfer.names import shown
from filexfer.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable
    from typing import Any

    from filexfer.report import FileResult


def report_for(arguments: Namespace) -> Report:
    """Return a report that names its files as the options ask for."""
    report = Report()
    if arguments.verbose:
        report.on_file = _name_file
        report.on_left_out = _name_left_out
        report.on_deleted = _name_deleted
    if arguments.json:
        arguments.json.watch(report)
    return report


def conclude(report: Report, *, quiet: bool) -> int:
    """Name what failed, sum up, and return the exit code."""
    name_failures(report, quiet=quiet)
    if not quiet:
        say(summary(report))
    return ExitCode.SOME_FAILED if report.failed or report.undeleted else ExitCode.OK


def name_failures(report: Report, *, quiet: bool) -> None:
    """Name what failed, and, but for *quiet*, what was passed over or may go wrong."""
    for remark in report.remarks if not quiet else ():
        say(f"filexfer: {remark}")
    for warning in report.warnings if not quiet else ():
        say(f"filexfer: {warning}; passed over")
    for failure in report.failures:
        say(f"filexfer: {failure}")
    if report.failed > len(report.failures):
        say(f"filexfer: and {report.failed - len(report.failures)} more failed")
    if report.undeleted:
        say(f"filexfer: {report.undeleted}")


def explain(report: Report, arguments: Namespace, *, is_upload: bool) -> None:
    """Say where the time went, if that was asked for."""
    if report.stats is None:
        return
    from filexfer.measure import breakdown  # noqa: PLC0415 - only for who asked for it

    for line in breakdown.table(report.stats):
        say(line)
    say(
        breakdown.sentence(
            report.stats,
            files=report.files,
            is_upload=is_upload,
            algorithm=arguments.hash,
            limit=arguments.bwlimit,
        )
    )


def summary(report: Report) -> str:
    """Return what happened, in one line."""
    text = f"{count(report.files, 'file')}, {size(report.bytes)} in {report.seconds:.1f} s"
    if report.bytes and report.seconds:
        text += f" ({size(report.rate)}/s)"
    if report.skipped:
        text += f", {report.skipped} skipped"
    if report.left_out:
        text += f", {report.left_out} left out"
    if report.deleted:
        text += f", {report.deleted} deleted"
    if report.failed:
        text += f", {report.failed} failed"
    return f"{text} -> {shown(report.destination)}"


def say(text: str) -> None:
    """Print a line to standard error; that nobody can read it changes nothing."""
    try:
        if sys.stderr:
            print(text, file=sys.stderr)
    except OSError:
        pass  # what is said here is said by the exit code too


def print_data(lines: Iterable[str]) -> None:
    """Print lines to standard output; with ``--json`` they are said to people.

    Raises:
        BrokenPipeError: if whoever read it has gone.
        LocalError: if it takes no more for another reason.

    """
    if sys.stdout is sys.stderr:
        for line in lines:
            say(line)
        return
    try:
        for line in lines:
            print(line)
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalError(f"standard output: {error.strerror}") from error


def count(number: int, noun: str) -> str:
    """Return *number* with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(number: float) -> str:
    """Return a number of bytes with a decimal unit."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 999.95 or unit == "PB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError  # the loop returns


def attempt(
    arguments: Namespace, result: str, act: Callable[..., object], name: str, **how: Any
) -> ExitCode:
    """Do something with one name on a server, tell if it fails, and return the exit code.

    Args:
        arguments: Of the command.
        result: What was done to it then, in a word.
        act: Does it.
        name: What with.
        how: More for *act*.

    """
    failure = None
    try:
        act(name, **how)
    except FileError as error:
        say(f"filexfer: {error}")
        failure = error
    if arguments.json:
        arguments.json.outcome(name, result, failure)
    return ExitCode.SOME_FAILED if failure else ExitCode.OK


def _name_file(file: FileResult) -> None:
    if not file.code:  # failures are named at the end
        say(f"{file.result:9} {size(file.size):>9}  {shown(file.name)}")


def _name_left_out(name: str, reason: str) -> None:
    say(f"{'left out':9} {'':9}  {shown(name)} ({reason})")


def _name_deleted(name: str) -> None:
    say(f"{'deleted':9} {'':9}  {shown(name)}")
