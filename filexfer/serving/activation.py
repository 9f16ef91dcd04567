"""Takes over the listening socket that a service manager has opened, as systemd hands it over.

The variables LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES say how many descriptors there are from 3
on, for which process, and how they are called. One socket is taken: one that listens on ``[::]``
serves IPv4 and IPv6 alike, and who wants two addresses runs two services.

This module must not know who is served on it.
"""

from __future__ import annotations

import os
import socket

from filexfer.errors import UsageError
from filexfer.names import shown

FIRST = 3  # the first descriptor that is handed over
_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def inherited_listener() -> socket.socket | None:
    """Return the socket that was handed over to this process, or None if there is none.

    The variables are taken out of the environment: they are not meant for children.

    Raises:
        UsageError: if what was handed over is not one listening TCP socket.

    """
    count, process, names, _ = (os.environ.pop(name, "") for name in _VARIABLES)
    if not count or process != str(os.getpid()):
        return None  # there are none, or they are meant for another process
    if not (count.isascii() and count.isdecimal()):
        raise UsageError(f"LISTEN_FDS is no number: {shown(count)}")
    if int(count) == 0:
        return None
    if int(count) != 1:
        called = f" ({shown(names)})" if names else ""
        raise UsageError(
            f"the service manager hands over {int(count)} sockets{called}, and filexfer takes one: "
            "leave one ListenStream= in the socket unit"
        )
    try:
        sock = socket.socket(fileno=FIRST)
    except OSError as error:
        raise _unfit("no socket") from error
    try:
        _check(sock)
    except BaseException:
        sock.detach()  # it is not ours
        raise
    sock.set_inheritable(False)
    return sock


def _check(sock: socket.socket) -> None:
    """Raise UsageError unless the socket is one that TCP connections can be accepted from."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        raise _unfit("no TCP socket")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise _unfit("not listening (a socket unit must have Accept=no)")


def _unfit(what: str) -> UsageError:
    return UsageError(f"descriptor {FIRST}, which the service manager hands over, is {what}")
