"""``filexfer get``: download files and folders.

This module must not know how anything is transferred.
"""

from __future__ import annotations

import signal
import sys

from filexfer import ConnectionLost, LocalError, UsageError, address
from filexfer.cli import Terminated, options, output
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from filexfer import Client

EPILOG = """\
examples:
  filexfer get fx://127.0.0.1/report.pdf .          a file into this folder
  filexfer get fx://127.0.0.1/photos backup/        a folder, as backup/photos
  filexfer get fx://127.0.0.1/photos/ backup        what is in it, into 'backup'
  filexfer get fx://127.0.0.1/x.tar - | tar x       to standard output

A second run fetches only what is missing or has changed.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument("destination", metavar="DST", help="a file, a folder, or -")
    options.add_transfer(parser)
    options.add_durability(parser)


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
    report = output.report_for(arguments)
    choices = options.options_from(arguments)
    if arguments.destination == "-" and (len(names) > 1 or remotes[0].is_folder):
        raise UsageError("only one file can go to standard output")
    if arguments.destination == "-" and sys.stdout is None:
        raise LocalError("standard output is closed")
    with options.client_for(remotes[0], arguments) as client:
        if arguments.destination == "-":
            client.get_stream(names[0], 1, choices, report)
        else:
            with _Signals(client):
                client.get(names, arguments.destination, choices, report)
    code = output.conclude(report, quiet=arguments.quiet)
    output.explain(report, is_upload=False, algorithm=arguments.hash)
    return code


class _Signals:
    """Ctrl-C and SIGTERM cut the connection, and the download ends where it waits for more.

    An exception in the middle of things would leave temporary files. A second signal is one.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._came = 0

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and '&' ignore them
                signal.signal(number, self._take)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._came and (kind is None or issubclass(kind, ConnectionLost)):
            raise _meaning(self._came)

    def _take(self, number: int, _: object) -> None:
        if self._came or not self._client.interrupt():
            raise _meaning(number)
        self._came = number


def _meaning(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
