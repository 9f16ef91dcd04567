"""``filexfer mv``: give files and folders on a server another name.

This module must not know how a request travels.
"""

from __future__ import annotations

from filexfer import ExitCode, UsageError
from filexfer.cli import options, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from filexfer.address import Remote

EPILOG = """\
examples:
  filexfer mv nas:draft.txt nas:letter.txt     another name
  filexfer mv nas:letter.txt nas:2026/spring/  into a folder, also a new one
  filexfer mv nas:a.txt nas:photos nas:2026/   several, into a folder

All places are on one server, and nothing is sent: it is one step there. DST is the new name, or, if
it is a folder or ends in a slash, the folder to go into. What has the name already is kept, unless
--overwrite is given; a folder is never replaced. The server must allow it:
filexfer serve --allow delete, and for --overwrite also --allow overwrite
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument("destination", metavar="DST", help="the same, on the same server")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a file or link that has the name"
    )
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Move, and return the exit code."""
    remotes = [options.place(text) for text in arguments.remotes]
    there = options.place(arguments.destination)
    if len({_server(remote) for remote in (*remotes, there)}) > 1:
        raise UsageError("all places must be on one server: mv sends nothing")
    if not all(remote.path for remote in remotes):
        raise UsageError("the folder that is served cannot be moved")
    is_folder = there.is_folder or len(remotes) > 1 or not there.path
    to = there.path.rstrip("/") + "/" if is_folder else there.path
    code = ExitCode.OK
    with options.client_for(there, arguments) as client:
        for remote in remotes:
            how = {"to": to, "overwrite": arguments.overwrite}
            done = output.attempt(arguments, "moved", client.move, remote.path, **how)
            code = max(code, done)
    return code


def _server(remote: Remote) -> tuple[str, int, str]:
    return remote.host, remote.port, getattr(remote, "token", "")
