"""``filexfer get``: download files and folders.

This module must not know how anything is transferred.
"""

from __future__ import annotations

import sys

from filexfer import LocalError, UsageError, address
from filexfer.cli import options, transferring, watch
from filexfer.cli.parsing import SAFETY, Further, group
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from filexfer.cli.parsing import Parser

EPILOG = """\
examples:
  filexfer get fx://127.0.0.1/report.pdf .          a file into this folder
  filexfer get fx://127.0.0.1/photos backup/        a folder, as backup/photos
  filexfer get fx://127.0.0.1/photos/ backup        what is in it, into 'backup'
  filexfer get fx://127.0.0.1/x.tar - | tar x       to standard output

A second run fetches only what is missing or has changed. NAME is that of a server that
'filexfer login NAME' has stored.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument("destination", metavar="DST", help="a file, a folder, or -")
    options.add_transfer(parser)
    options.add_durability(parser)
    group(parser, SAFETY).add_argument(
        "--expect",
        default="",
        metavar="DIGEST",
        help=Further("take one file, only if it has this digest: sha256:HEX, or of another hash"),
    )


def configure_seldom(parser: Parser) -> None:
    """Add the arguments that a command without options does without."""
    from filexfer.cli import choosing  # noqa: PLC0415 - see above

    choosing.add(parser, "REMOTE")
    options.add_planning(parser)


def run(arguments: Namespace) -> int:
    """Download, and return the exit code."""
    if arguments.destination != "-" and address.is_remote(arguments.destination):
        raise UsageError(
            f"{shown(arguments.destination)} is remote; "
            f"a local file of that name is ./{shown(arguments.destination)}"
        )
    if arguments.destination == "-" and arguments.json:
        raise UsageError("--json writes to standard output too: give the file a name")
    remotes = [options.place(text) for text in arguments.remotes]
    servers = {(remote.host, remote.port, getattr(remote, "token", "")) for remote in remotes}
    if len(servers) > 1:
        raise UsageError("all sources must be on one server")
    names = [
        remote.path + "/" if remote.is_folder and remote.path else remote.path for remote in remotes
    ]
    is_stream = arguments.destination == "-"
    if is_stream and (len(names) > 1 or remotes[0].is_folder):
        raise UsageError("only one file can go to standard output")
    if is_stream and sys.stdout is None:
        raise LocalError("standard output is closed")
    report, receipt, choices = transferring.prepare(arguments, is_stream=is_stream)
    with (
        options.client_for(remotes[0], arguments) as client,
        watch.Transfer(client, report, arguments, is_upload=False),
    ):
        if is_stream:
            client.get_stream(names[0], 1, choices, report)
        else:
            client.get(names, arguments.destination, choices, report)
    return transferring.conclude(report, receipt, arguments, is_upload=False)
