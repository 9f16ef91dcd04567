"""``filexfer diff``: compare a local tree with one on a server.

This module must not know how the two are compared.
"""

from __future__ import annotations

import time

from filexfer import ExitCode, Report, UsageError, address
from filexfer.cli import options, output
from filexfer.cli.parsing import MESSAGES, group
from filexfer.cli.watch import Drawing
from filexfer.errors import Code
from filexfer.names import shown
from filexfer.progress import VERIFYING
from filexfer.receipts import compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from filexfer import Entry
    from filexfer.receipts.compare import Comparison, Difference

EPILOG = """\
examples:
  filexfer diff photos nas:photos        what is not the same, by size and time
  filexfer diff -c photos nas:photos     by contents: each side hashes its own
  filexfer diff -q photos nas:photos && echo the same

The two are compared as they are, a folder with a folder: no name is added, as 'put' does. Either
may come first. A line is 'only local', 'only remote', or in what it differs (type, size, time,
digest, or where a link leads), and the name; of a folder that is on one side only, what lies in
it is not named. Permissions are not compared. With -c, times are not. Pipes, sockets and devices
are never sent: they are passed over with a warning, and make no difference, unless the other side
has a file, folder or link of that name.

The exit code is 0 if nothing differs, and 3 if something does or could not be read.
"""

_SORTED = 10_000  # lines that are sorted together; no more are held
_KINDS = {"file": "file", "folder": "folder", "link": "link", "special": "pipe or device"}


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    from filexfer.hashing import ALGORITHMS, DEFAULT  # noqa: PLC0415 - as in the options of put

    parser.add_argument("one", metavar="LOCAL", help="a folder or file")
    parser.add_argument("other", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument(
        "-c", "--checksum", action="store_true", help="compare contents by digest, and no times"
    )
    parser.add_argument(
        "--hash", choices=ALGORITHMS, default=DEFAULT, help=f"of the digests (default: {DEFAULT})"
    )
    options.add_connection(parser)
    options.add_retries(parser)
    group(parser, MESSAGES).add_argument(
        "-q", "--quiet", action="store_true", help="say nothing but errors"
    )


def run(arguments: Namespace) -> int:
    """Compare, and return the exit code."""
    arguments.verbose = False
    local, remote = arguments.one, arguments.other
    if address.is_remote(local) and not address.is_remote(remote):
        local, remote = remote, local
    if address.is_remote(local):
        raise UsageError(
            f"{shown(local)} and {shown(remote)} are both remote; one must be local, as ./a:b is"
        )
    if not address.is_remote(remote):
        raise UsageError(
            f"{shown(local)} and {shown(remote)} are both local; one must be {options.REMOTE}"
        )
    report = Report()
    place = options.place(remote)
    with options.client_for(place, arguments) as client:
        client.on_lost = report.lose
        comparison = compare.Comparison(
            *(local, client, place.path), checksum=arguments.checksum, algorithm=arguments.hash
        )
        comparison.on_progress = lambda so_far: _progress(report, so_far)
        report.enter(VERIFYING)
        drawing = Drawing(report, arguments)
        tally = _Tally(drawing, arguments)
        drawing.start()
        try:
            output.print_data(tally.lines(iter(comparison)))
        finally:
            drawing.stop()
    return tally.conclude(comparison)


def _progress(report: Report, comparison: Comparison) -> None:
    report.enter(VERIFYING)  # also after a lost connection
    report.moved = report.partial_bytes = comparison.hashed
    report.confirmed = comparison.compared


class _Tally:
    """What was found so far."""

    def __init__(self, drawing: Drawing, arguments: Namespace) -> None:
        self._drawing = drawing
        self._quiet = arguments.quiet
        self._json = arguments.json
        self._different = self._unread = self._passed_over = 0

    def lines(self, differences: Iterator[Difference]) -> Iterator[str]:
        """Yield a line for each difference, sorted by names as far as memory shall go."""
        piece: list[tuple[str, str]] = []
        for each in differences:
            if each.what == compare.PASSED_OVER:
                self._pass_over(each)
                continue
            if self._json:
                self._json.difference(each)
            if each.what == compare.UNREAD:
                self._unread += 1
                output.say(f"filexfer: {shown(each.name) or '.'}: {each.text}")
                continue
            self._different += 1
            if not (self._quiet or self._json):
                piece.append((each.name, _line(each)))
            if len(piece) >= _SORTED:
                yield from (line for _, line in sorted(piece))
                piece = []
        self._drawing.stop()
        yield from (line for _, line in sorted(piece))

    def _pass_over(self, found: Difference) -> None:
        self._passed_over += 1
        if self._json:
            self._json.warning(found.text, found.name, Code.PASSED_OVER)
        if not self._quiet:
            output.say(f"filexfer: {shown(found.name) or '.'}: {found.text}; passed over")

    def conclude(self, comparison: Comparison) -> int:
        """Sum up, and return the exit code."""
        if not self._quiet:
            text = output.count(self._different, "difference")
            text += f", {output.count(comparison.compared, 'file')} on both sides"
            for number, what in ((self._unread, "not read"), (self._passed_over, "passed over")):
                text += f", {number} {what}" if number else ""
            output.say(text)
        return ExitCode.SOME_FAILED if self._different or self._unread else ExitCode.OK


def _line(found: Difference) -> str:
    here, there = found.local, found.remote
    either = here or there
    slash = "/" if found.name and either and either.type == "folder" else ""
    text = f"{found.what:11}  {shown(found.name) or '.'}{slash}"
    if not here or not there or found.what == compare.DIGEST:
        return text
    return f"{text}: {_in_words(found.what, here)} here, {_in_words(found.what, there)} there"


def _in_words(what: str, entry: Entry) -> str:
    if what == compare.TYPE:
        return f"a {_KINDS[entry.type]}"
    if what == compare.SIZE:
        return f"{entry.size} bytes"
    if what == compare.TARGET:
        return f"-> {shown(entry.extra)}"
    seconds, nanoseconds = divmod(entry.mtime, 1_000_000_000)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{moment}.{nanoseconds:09}"
