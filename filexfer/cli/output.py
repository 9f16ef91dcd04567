"""What people see of a transfer: a bar where there is a terminal, and a summary at the end.

Everything in here goes to standard error.
"""

from __future__ import annotations

import sys
from time import monotonic

from filexfer.errors import ExitCode, LocalError
from filexfer.names import shown
from filexfer.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable
    from typing import NoReturn

    from tqdm import tqdm

    from filexfer.report import FileResult


def report_for(arguments: Namespace) -> Report:
    """Return a report that is shown as the options and the terminal ask for."""
    report = Report()
    if arguments.verbose:
        report.on_file = _name_file
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    if is_terminal and not (arguments.quiet or arguments.verbose or arguments.json):
        report.on_progress = _Bar()
    if arguments.json:
        arguments.json.watch(report)
    return report


def conclude(report: Report, *, quiet: bool) -> int:
    """Name what failed, sum up, and return the exit code."""
    if isinstance(report.on_progress, _Bar):
        report.on_progress.close()
    for warning in report.warnings if not quiet else ():
        say(f"filexfer: {warning}; passed over")
    for failure in report.failures:
        say(f"filexfer: {failure}")
    if report.failed > len(report.failures):
        say(f"filexfer: and {report.failed - len(report.failures)} more failed")
    if not quiet:
        say(summary(report))
    return ExitCode.SOME_FAILED if report.failed else ExitCode.OK


def explain(report: Report, *, is_upload: bool, algorithm: str) -> None:
    """Say where the time went, if that was asked for."""
    if report.stats is None:
        return
    from filexfer.measure import breakdown  # noqa: PLC0415 - only for who asked for it

    for line in breakdown.table(report.stats):
        say(line)
    say(
        breakdown.sentence(
            report.stats, files=report.files, is_upload=is_upload, algorithm=algorithm
        )
    )


def summary(report: Report) -> str:
    """Return what happened, in one line."""
    text = f"{count(report.files, 'file')}, {size(report.bytes)} in {report.seconds:.1f} s"
    if report.bytes and report.seconds:
        text += f" ({size(report.rate)}/s)"
    if report.skipped:
        text += f", {report.skipped} skipped"
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


def _name_file(file: FileResult) -> None:
    if not file.code:  # failures are named at the end
        say(f"{file.result:9} {size(file.size):>9}  {shown(file.name)}")


_BAR_AFTER = 0.3  # seconds; what is over sooner needs no bar, and is not held up by loading it


class _Bar:
    """A bar of bytes; its total grows while the source is still being walked."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, report: Report) -> None:
        """Bring the bar up to date."""
        if self._bar is None:
            if monotonic() - report.started < _BAR_AFTER:
                return
            self._bar = _new_bar()
        bar = self._bar
        to_move = report.found_bytes - report.skipped_bytes  # 0 in a download: the server walks
        bar.total = to_move if to_move and to_move >= report.moved else None
        bar.set_postfix_str(
            f"{report.files}/{report.found} files" if report.found else f"{report.files} files",
            refresh=False,
        )
        bar.update(report.moved - bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def _new_bar() -> tqdm[NoReturn]:
    from tqdm import tqdm  # noqa: PLC0415 - costs 37 ms, only for those who see it

    bar: tqdm[NoReturn] = tqdm(
        unit="B", unit_scale=True, leave=False, dynamic_ncols=True, file=sys.stderr
    )
    return bar
