"""``filexfer remotes``: list the servers that are stored.

This module must not know where they are stored.
"""

from __future__ import annotations

from filexfer.address import written
from filexfer.cli import output
from filexfer.names import shown
from filexfer.security import stored
from filexfer.security.connect_string import SecretRemote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

EPILOG = """\
examples:
  filexfer remotes

A line has name, host and port, the certificate's fingerprint (or the authority that vouches for
it), and the rights that the server gave at the login. A server that was accepted without a login
has - for a name. Tokens are not shown.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments: none."""


def run(arguments: Namespace) -> int:
    """List them, and return the exit code."""
    if arguments.json:
        for name, remote in stored.remotes().items():
            arguments.json.remote(name, remote)
        for where, fingerprint in sorted(stored.all_known().items()):
            host, _, port = where.rpartition(":")
            arguments.json.remote(
                None, SecretRemote(host.strip("[]"), int(port), "", fingerprint=fingerprint)
            )
        return 0
    lines = [*_named(), *_known()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    output.print_data(
        "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return 0


def _named() -> Iterator[tuple[str, str, str, str]]:
    for name, remote in stored.remotes().items():
        where = f"{shown(written(remote.host))}:{remote.port}"
        identity = remote.fingerprint or (f"ca {shown(remote.ca)}" if remote.ca else "-")
        yield name, where, identity, ",".join(map(shown, remote.rights)) or "-"


def _known() -> Iterator[tuple[str, str, str, str]]:
    for where, fingerprint in sorted(stored.all_known().items()):
        yield "-", shown(where), fingerprint, "-"
