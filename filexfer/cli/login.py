"""``filexfer login``: store a server under a name.

This module must not know where it is stored.
"""

from __future__ import annotations

import os
import sys

from filexfer import Trust, UsageError
from filexfer.cli import options, output
from filexfer.errors import LocalError
from filexfer.names import shown
from filexfer.security import private, stored
from filexfer.security.connect_string import SecretRemote, parse_connect_string
from filexfer.security.trust import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EPILOG = """\
examples:
  filexfer login nas                       asks for the connect string, unseen
  filexfer login nas < nas.txt             from standard input
  filexfer login nas --file nas.txt        from a file
  filexfer put photos nas:                 what it is good for

The connect string is the line that 'filexfer serve' shows: fx://TOKEN@HOST:PORT/#FINGERPRINT. It
is a secret. It is stored in $XDG_CONFIG_HOME/filexfer/remotes.json (without that variable, in
~/.config/filexfer), for its owner alone; a server that had the name is replaced.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="letters, digits, - _ and .")
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="read the connect string from this file, which nobody else may read",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="store it without asking the server"
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="know the server by these authorities (PEM), or, with 'system', by those that this "
        "machine trusts, and not by its fingerprint",
    )
    options.add_timeout(parser)


def run(arguments: Namespace) -> int:
    """Store the server, and return the exit code."""
    stored.check_name(arguments.name)
    remote = parse_connect_string(_line(arguments))
    if remote.path:
        raise UsageError("a server is stored without a path: leave out what is between / and #")
    if arguments.ca is not None:
        remote.ca = arguments.ca if arguments.ca == SYSTEM else os.path.abspath(arguments.ca)
        remote.fingerprint = ""
    if not arguments.no_check:
        remote.rights = _rights(remote, arguments.timeout)
    stored.store(arguments.name, remote)
    if arguments.json:
        arguments.json.remote(arguments.name, remote)
    rights = f", with the rights to {', '.join(remote.rights)}" if remote.rights else ""
    output.say(f"stored {remote} as {arguments.name}{rights}")
    output.say(f"use it as {arguments.name}:PATH, as in: filexfer put FILE... {arguments.name}:")
    return 0


def _rights(remote: SecretRemote, timeout: float) -> tuple[str, ...]:
    """Ask the server what it lets us do."""
    from filexfer.security.access import RIGHTS  # noqa: PLC0415 - with the next
    from filexfer.wire.dial import Door  # noqa: PLC0415 - only for who asks the server

    door = Door(remote.host, remote.port, timeout=timeout, trust=Trust.of(remote))
    door.open().close()
    return tuple(right for right in RIGHTS if right in door.rights)


def _line(arguments: Namespace) -> str:
    """Return the connect string, wherever it comes from."""
    if arguments.file is not None:
        data = private.read(arguments.file)
        if data is None:
            raise LocalError(f"cannot read {shown(arguments.file)}: no such file")
        text = data.decode("ascii", "replace")
    elif sys.stdin is None:
        raise LocalError("standard input is closed")
    elif sys.stdin.isatty():
        text = _asked(arguments.name)
    else:
        text = sys.stdin.buffer.read(_SIZE_MAX).decode("ascii", "replace")
    lines = text.split()
    if len(lines) != 1:
        raise UsageError("exactly one connect string is needed: fx://TOKEN@HOST:PORT/#FINGERPRINT")
    return lines[0]


_SIZE_MAX = 1 << 16  # characters; a connect string has some hundred


def _asked(name: str) -> str:
    from getpass import getpass  # noqa: PLC0415 - only where somebody can answer

    try:
        return getpass(f"connect string of {name} (it is not shown): ", stream=sys.stderr)
    except EOFError:
        raise UsageError("no connect string was given") from None
