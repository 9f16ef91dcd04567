"""What ``filexfer serve`` prints when it begins: where, for whom, and what to type elsewhere.

This module must not know how the server was set up.
"""

from __future__ import annotations

from filexfer.address import format_url, is_loopback
from filexfer.cli import connect, output
from filexfer.names import shown
from filexfer.security.access import RIGHTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer import Server
    from filexfer.cli.json_lines import Lines
    from filexfer.security.certificate import Identity


def to_bearers(server: Server, fingerprint: str, tokens: list[str], line: str) -> None:
    """Tell about a server that lets in who has a token.

    Args:
        server: Which one.
        fingerprint: Of its certificate; ``""`` if it talks in the clear.
        tokens: Their names.
        line: The first token's connect string, or where it is kept; ``""`` if it is not new.

    """
    _tell_where(server, fingerprint)
    _say("tokens", ", ".join(tokens))
    if line:
        _say("connect", line)
        _say("", "(a secret, told only now: filexfer login NAME takes it)")
    else:
        _say("more", "filexfer token add NAME")
    _say("upload", "filexfer put FILE... NAME:")
    _say("download", "filexfer get NAME:FILE .")


def to_anybody(server: Server, fingerprint: str) -> None:
    """Tell about a server that lets in everybody who reaches it."""
    rights = [right for right in RIGHTS if right in server.rights]
    _tell_where(server, fingerprint)
    whom, flag, address = "every user of this machine", "", server.address
    if not is_loopback(server.host):
        whom = "everybody who can reach the address"
        if not fingerprint:
            whom, flag = f"{whom}, unencrypted", "--insecure "
        address = format_url(
            connect.seen_from_outside(server.host), server.port, "", is_folder=True
        )
    _say("rights", f"{', '.join(rights)}, for {whom}")
    if "create" in rights:
        _say("upload", f"filexfer put {flag}FILE... {address}")
    _say("download", f"filexfer get {flag}{address}NAME .")


def as_object(
    server: Server,
    identity: Identity | None,
    tokens: list[str] | None,
    connect_file: str,
    lines: Lines,
) -> None:
    """Write the same as an object, but never a connect string.

    Args:
        server: Which one.
        identity: What clients know it by, if it talks TLS.
        tokens: Their names; None if it lets in everybody.
        connect_file: Where the first token's connect string is kept, if it is new.
        lines: Where to.

    """
    lines.emit(
        "ready",
        folder=server.folder.path,
        addresses=[server.address],
        host=server.host,
        port=server.port,
        fingerprint=identity.fingerprint if identity else None,
        rights=[right for right in RIGHTS if right in server.rights] if tokens is None else None,
        tokens=tokens,
        connect_file=connect_file or None,
    )


def _tell_where(server: Server, fingerprint: str) -> None:
    _say("folder", shown(server.folder.path))
    _say("address", server.address)
    if fingerprint:
        _say("fingerprint", fingerprint)


def _say(word: str, text: str) -> None:
    output.say(f"{word:<11} {text}")
