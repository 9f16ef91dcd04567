"""What people see of a plan: what lands where, a line for each name, and the sums.

The lines go to standard output, the sums to standard error.

This module must not know how a plan is made.
"""

from __future__ import annotations

from filexfer.cli import output
from filexfer.entry import FILE, FOLDER
from filexfer.errors import ExitCode, LocalError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from filexfer.planning.planned import PlanEntry
    from filexfer.report import Report

_MAPPINGS_MAX = 20  # lines of what lands where; the rest is only counted


def watch(report: Report, arguments: Namespace) -> None:
    """Let what is planned be shown as the options ask for."""
    if arguments.json:
        report.on_plan = lambda entry: arguments.json.plan(
            *(entry.name, entry.verdict, entry.type, entry.size, entry.code, entry.text)
        )
        return
    if arguments.quiet or not (arguments.dry_run or arguments.verbose):
        return
    listing = _Listing()
    report.on_mapping = listing.mapping
    report.on_plan = listing.entry


def conclude(report: Report, *, quiet: bool) -> int:
    """Say what would happen, and return the exit code that the transfer would end with."""
    if not report.on_plan:
        for remark in report.remarks if not quiet else ():
            output.say(f"filexfer: {remark}")
        for failure in report.failures:
            output.say(f"filexfer: {failure}")
        if report.failed > len(report.failures):
            output.say(f"filexfer: and {report.failed - len(report.failures)} more would fail")
    else:
        output.print_data(())  # all of it is out before the sums
    if report.undeleted:
        output.say(f"filexfer: {report.undeleted}")
    if not quiet:
        output.say(summary(report))
    return ExitCode.SOME_FAILED if report.failed or report.undeleted else ExitCode.OK


def summary(report: Report) -> str:
    """Return what would happen, in one line."""
    files, size = output.count(report.to_send, "file"), output.size(report.to_send_bytes)
    text = f"nothing was written; to send: {files}, {size}"
    for number, word in (
        (report.to_make, "folders" if report.to_make != 1 else "folder"),
        (report.skipped, "skipped"),
        (report.failed, "refused"),
        (report.left_out, "left out"),
        (report.to_delete, "to delete"),
    ):
        if number:
            text += f", {number} {word}"
    return f"{text} -> {shown(report.destination)}"


class _Listing:
    """Prints what is planned while it is found out."""

    def __init__(self) -> None:
        self._mappings = 0

    def mapping(self, source: str, target: str) -> None:
        """Print what lands where."""
        self._mappings += 1
        if self._mappings <= _MAPPINGS_MAX:
            _print(f"{shown(source)} -> {shown(target)}")

    def entry(self, entry: PlanEntry) -> None:
        """Print what would become of one name."""
        if self._mappings > _MAPPINGS_MAX:
            _print(f"... and {self._mappings - _MAPPINGS_MAX} more sources")
            self._mappings = 0
        _print(line(entry))


def line(entry: PlanEntry) -> str:
    """Return what is printed of one name."""
    size = output.size(entry.size) if entry.type == FILE else "-"
    name = shown(entry.name) + ("/" if entry.type == FOLDER else "")
    verdict = entry.verdict.replace("_", " ")
    return f"{verdict:9} {size:>9}  {name}" + (f": {shown(entry.text)}" if entry.text else "")


def _print(text: str) -> None:
    try:
        print(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalError(f"standard output: {error.strerror}") from error
