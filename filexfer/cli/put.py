"""``filexfer put``: upload files and folders.

This module must not know how anything is transferred.
"""

from __future__ import annotations

import sys

from filexfer import LocalError, UsageError, address
from filexfer.cli import options, transferring, watch
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from filexfer.cli.parsing import Parser

EPILOG = """\
examples:
  filexfer put report.pdf fx://127.0.0.1/inbox/    a file into a folder
  filexfer put photos fx://127.0.0.1/              a folder, as 'photos'
  filexfer put photos/ fx://127.0.0.1/album        what is in it, into 'album'
  tar c . | filexfer put - fx://127.0.0.1/x.tar    standard input

A second run sends only what is missing or has changed. NAME is that of a server that
'filexfer login NAME' has stored.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("sources", nargs="+", metavar="SRC", help="a file, a folder, or -")
    parser.add_argument("remote", metavar="REMOTE", help=options.REMOTE)
    options.add_transfer(parser)


def configure_seldom(parser: Parser) -> None:
    """Add the arguments that a command without options does without."""
    from filexfer.cli import choosing  # noqa: PLC0415 - see above

    choosing.add(parser, "SRC")
    options.add_planning(parser)


def run(arguments: Namespace) -> int:
    """Upload, and return the exit code."""
    remote = options.place(arguments.remote)
    for source in arguments.sources:
        if source != "-" and address.is_remote(source):
            raise UsageError(
                f"{shown(source)} is remote; a local file of that name is ./{shown(source)}"
            )
    if "-" in arguments.sources and len(arguments.sources) > 1:
        raise UsageError("standard input (-) can only be put alone")
    if "-" in arguments.sources and sys.stdin is None:
        raise LocalError("standard input is closed")
    report, receipt, choices = transferring.prepare(arguments, is_stream="-" in arguments.sources)
    destination = remote.path + "/" if remote.is_folder and remote.path else remote.path
    with (
        options.client_for(remote, arguments) as client,
        watch.Transfer(client, report, arguments, is_upload=True),
    ):
        if arguments.sources == ["-"]:
            client.put_stream(0, destination, choices, report)
        else:
            client.put(arguments.sources, destination, choices, report)
    return transferring.conclude(report, receipt, arguments, is_upload=True)
