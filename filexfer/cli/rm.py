"""``filexfer rm``: remove files and folders on a server.

This module must not know how a request travels.
"""

from __future__ import annotations

from filexfer import ExitCode, UsageError
from filexfer.cli import options, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EPILOG = """\
examples:
  filexfer rm fx://127.0.0.1/old.txt         a file, a link or an empty folder
  filexfer rm -r fx://127.0.0.1/old          a folder and all in it

The server must allow it: filexfer serve --allow delete
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="a folder and all that is in it"
    )
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Remove, and return the exit code."""
    code = ExitCode.OK
    for remote in [options.place(text) for text in arguments.remotes]:
        if not remote.path:
            raise UsageError("the folder that is served cannot be removed")
        how = {"recursive": arguments.recursive}
        with options.client_for(remote, arguments) as client:
            done = output.attempt(arguments, "removed", client.remove, remote.path, **how)
            code = max(code, done)
    return code
