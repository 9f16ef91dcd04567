"""``filexfer mkdir``: make folders on a server.

This module must not know how a request travels.
"""

from __future__ import annotations

from filexfer import ExitCode
from filexfer.cli import options, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EPILOG = """\
examples:
  filexfer mkdir nas:inbox/2026      with missing parents; fine if it is there
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help=options.REMOTE)
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Make the folders, and return the exit code."""
    code = ExitCode.OK
    for remote in [options.place(text) for text in arguments.remotes]:
        with options.client_for(remote, arguments) as client:
            code = max(code, output.attempt(arguments, "made", client.make_folder, remote.path))
    return code
