"""Hands a new connect string over: once, to a terminal, or in a file for nobody else to read.

This module must not know what the token in it allows.
"""

from __future__ import annotations

import os
import socket

from filexfer import UsageError
from filexfer.names import shown
from filexfer.security import private


def keep(line: str, name: str, path: str | None = None) -> str:
    """Put a connect string into a file of its own, which only we can read; return its path.

    Args:
        line: The connect string.
        name: Of its token.
        path: The file; by default one in the server's state folder, which is replaced.

    Raises:
        LocalError: if that fails.
        UsageError: if *path* is given and exists.

    """
    if path is None:
        path = usual_file(name)
        private.write(path, line.encode() + b"\n")
    elif not private.write(path, line.encode() + b"\n", new=True):
        raise UsageError(f"{shown(path)} exists already")
    return path


def forget(name: str) -> None:
    """Remove the connect string of a token that is revoked, where ``keep`` puts it by itself."""
    try:
        os.unlink(usual_file(name))
    except OSError:
        pass  # it was taken away or never there; what is in it is of no use any more


def usual_file(name: str) -> str:
    """Return where a connect string is kept if nobody says where."""
    return os.path.join(private.state_folder(), f"connect-{name}.txt")


def seen_from_outside(host: str) -> str:
    """Return an address of this machine in the place of one that means all of them."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        return host
    family, other = (
        (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((other, 9))  # sends nothing: it only chooses the way to other machines
        except OSError:
            return socket.gethostname()
        return str(sock.getsockname()[0])
