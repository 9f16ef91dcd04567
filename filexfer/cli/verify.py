"""``filexfer verify``: check that files still are what a manifest says.

This module must not know how files are hashed, or the form of a manifest.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic

from filexfer import ExitCode, LocalError, Manifest, Report, UsageError, address
from filexfer.cli import options, output
from filexfer.cli.watch import Drawing
from filexfer.names import shown
from filexfer.progress import VERIFYING
from filexfer.receipts import verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import BinaryIO

    from filexfer.receipts.verify import Finding

EPILOG = """\
examples:
  filexfer put photos nas: --manifest photos.manifest     keep a receipt
  filexfer verify photos.manifest nas:                    there and unchanged?
  filexfer get nas:photos backup/ --manifest got.manifest
  filexfer verify got.manifest backup                     and is the copy?
  filexfer verify SHA256SUMS downloads                    what sha256sum made

PLACE is the folder that the names in FILE are relative to; the manifest itself says which that
was ('root'). On a server the files are hashed by the server, and nothing is moved; that takes the
right to read. Sizes are compared first. Links, and what was skipped or failed, are not checked.

FILE may also come from sha256sum, md5sum, b2sum or xxhsum. Without a tag, a digest of 32 digits
is taken for md5, of 64 for sha256, and of 128 for blake2b; '--hash' says otherwise.

The exit code is 0 if all is the same, 5 if a file has other contents or is none any more, and
else 3 if one is missing or cannot be read.
"""

_KEPT_MAX = 1000  # lines that wait for the end of the bar


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    from filexfer.hashing import ALGORITHMS  # noqa: PLC0415 - as in the options of put

    parser.add_argument("manifest", metavar="FILE", help="a manifest or checksums, or -")
    parser.add_argument(
        "place",
        metavar="PLACE",
        nargs="?",
        default=".",
        help="a local folder, or " + options.REMOTE + " (default: this folder)",
    )
    parser.add_argument(
        "--hash", choices=ALGORITHMS, default="", help="of digests that have no tag"
    )
    options.add_connection(parser)
    options.add_retries(parser)
    options.add_verbosity(parser)


def run(arguments: Namespace) -> int:
    """Check, and return the exit code."""
    report = Report()
    with _opened(arguments.manifest) as file:
        manifest = Manifest(file, arguments.manifest, arguments.hash)
        others = 0
        for record in manifest:  # all of it must be good before anything is said
            if record.digest:
                report.found += 1
                report.found_bytes += record.size or 0
            else:
                others += 1
        if not report.found:
            raise UsageError(f"{shown(arguments.manifest)} has no digest in it")
        report.expect(report.found, report.found_bytes)
        report.enter(VERIFYING)
        tally = _Tally(report, Drawing(report, arguments), arguments)
        if address.is_remote(arguments.place):
            remote = options.place(arguments.place)
            with options.client_for(remote, arguments) as client:
                client.on_lost = report.lose
                tally.add(verify.verify_remote(manifest, client, remote.path, tally.moved))
        else:
            tally.add(verify.verify_local(manifest, arguments.place, tally.moved))
    return tally.conclude(others, quiet=arguments.quiet)


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Open the manifest so that it can be read twice."""
    try:
        if path == "-":
            if sys.stdin is None:
                raise LocalError("standard input is closed")
            given: BinaryIO = sys.stdin.buffer
        else:
            given = open(path, "rb")  # noqa: SIM115 - closed below
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LocalError(f"cannot read {shown(path)}: {reason}") from error
    try:
        with given:
            if given.seekable():
                yield given
            else:
                yield from _copied(given)
    except OSError as error:
        raise LocalError(f"cannot read {shown(path)}: {error.strerror}") from error


def _copied(given: BinaryIO) -> Iterator[BinaryIO]:
    from shutil import copyfileobj  # noqa: PLC0415 - seldom needed
    from tempfile import TemporaryFile  # noqa: PLC0415 - seldom needed

    with TemporaryFile() as copy:
        copyfileobj(given, copy)
        copy.seek(0)
        yield copy


class _Tally:
    """What was found so far; says what is wrong at once, or where there is a bar, after it."""

    def __init__(self, report: Report, drawing: Drawing, arguments: Namespace) -> None:
        self._report = report
        self._drawing = drawing
        self._is_verbose = arguments.verbose
        self._json = arguments.json
        self._kept: list[str] = []
        self._counts = dict.fromkeys(verify.RESULTS, 0)

    def moved(self, size: int) -> None:
        """Note that so many bytes were hashed."""
        self._report.moved += size
        self._report.partial_bytes += size

    def add(self, findings: Iterator[Finding]) -> None:
        """Count them and say what is wrong."""
        report = self._report
        self._drawing.start()
        try:
            self._add(findings)
        finally:
            self._drawing.stop()
            self._flush()
        report.seconds = monotonic() - report.started

    def _add(self, findings: Iterator[Finding]) -> None:
        report = self._report
        for found in findings:
            report.enter(VERIFYING)  # also after a lost connection
            report.confirmed += 1
            self._counts[found.result] += 1
            if self._json:
                self._json.finding(found.name, found.result, found.text)
            if found.result == verify.SAME:
                report.files += 1
                report.bytes += found.size
                if self._is_verbose:
                    output.say(f"{'ok':9} {output.size(found.size):>9}  {shown(found.name)}")
            else:
                self._kept.append(f"filexfer: {shown(found.name)}: {found.text}")
                if not self._drawing.is_line or len(self._kept) >= _KEPT_MAX:
                    self._flush()

    def conclude(self, others: int, *, quiet: bool) -> int:
        """Sum up, and return the exit code."""
        same, differs, missing, unread = self._counts.values()
        if not quiet:
            report = self._report
            text = f"{output.count(same, 'file')} the same, {output.size(report.bytes)}"
            text += f" in {report.seconds:.1f} s"
            for number, what in (
                (differs, f"differ{'s' * (differs == 1)}"),
                (missing, "missing"),
                (unread, "not read"),
                (others, "without a digest"),
            ):
                text += f", {number} {what}" if number else ""
            output.say(text)
        if differs:
            return ExitCode.INTEGRITY
        return ExitCode.SOME_FAILED if missing or unread else ExitCode.OK

    def _flush(self) -> None:
        for line in self._kept:
            output.say(line)
        self._kept.clear()
