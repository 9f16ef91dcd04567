"""The choice of a TCP congestion control for what a socket sends; a thing of Linux.

This module must not know connections.
"""

from __future__ import annotations

import errno
import socket

from filexfer.errors import UsageError
from filexfer.names import shown

_FOLDER = "/proc/sys/net/ipv4"
_LENGTH_MAX = 16  # of a name in the system, with the zero at its end


def check_name(name: str) -> None:
    """Find out whether *name* can be chosen here.

    Raises:
        UsageError: if it cannot; says which can.

    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        send_by(sock, name)


def send_by(sock: socket.socket, name: str) -> None:
    """Let a TCP socket send by *name*; what a listening one accepts does the same.

    Raises:
        UsageError: if that cannot be.

    """
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is None:
        raise UsageError("the congestion control can be chosen on Linux only")
    wanted = name.encode(errors="surrogateescape")
    try:
        sock.setsockopt(socket.IPPROTO_TCP, option, wanted)
        used = sock.getsockopt(socket.IPPROTO_TCP, option, _LENGTH_MAX)
    except OSError as error:
        if error.errno == errno.EPERM:
            why = f"is not permitted to this user ({_names('allowed')} are)"
        elif error.errno == errno.ENOENT or not wanted:
            why = _unknown()
        else:
            why = f"cannot be chosen: {error.strerror}"
        raise UsageError(f"the congestion control {shown(name)!r} {why}") from error
    if used.partition(b"\0")[0] != wanted:  # the system takes the beginning of a long name
        raise UsageError(f"the congestion control {shown(name)!r} {_unknown()}")


def _unknown() -> str:
    available, allowed = _names("available"), _names("allowed")
    return f"is not known to this system (available: {available}; for every user: {allowed})"


def _names(which: str) -> str:
    """Return what the system lists, and where."""
    path = f"{_FOLDER}/tcp_{which}_congestion_control"
    try:
        with open(path, encoding="utf-8") as file:
            return f"{', '.join(file.read().split())}, by {path}"
    except (OSError, ValueError):
        return f"see {path}"
