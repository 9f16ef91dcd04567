"""``filexfer logout``: forget servers.

This module must not know where they are stored.
"""

from __future__ import annotations

from filexfer import ExitCode
from filexfer.cli import output
from filexfer.names import shown
from filexfer.security import stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EPILOG = """\
examples:
  filexfer logout nas                  forget what login has stored as 'nas'
  filexfer logout 192.0.2.7:17177      forget the certificate that was accepted

The token stays good for whoever has it, until it is taken back at the server.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="a name, or HOST:PORT of a server that has none"
    )


def run(arguments: Namespace) -> int:
    """Forget them, and return the exit code."""
    code = ExitCode.OK
    for name in arguments.names:
        was_there = stored.forget_known(name) if ":" in name else stored.forget(name)
        if not was_there:
            text = f"{shown(name)} is not stored"
            output.say(f"filexfer: {text}")
            code = ExitCode.SOME_FAILED
            if arguments.json:
                arguments.json.blame(text)
    return code
