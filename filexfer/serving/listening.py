"""The socket that a server listens on, and who can reach it.

This module must not know what becomes of a connection.
"""

from __future__ import annotations

import socket
from errno import EADDRINUSE

from filexfer.address import is_loopback
from filexfer.errors import NetworkError, TrustError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def listen(host: str, port: int, *, is_safe: bool, backlog: int) -> socket.socket:
    """Return a listening socket; quick restarts on the same port are possible.

    Args:
        host: Name or address.
        port: Port; 0 for a free one.
        is_safe: Whether it may be any but this machine's own.
        backlog: How many connections may wait to be accepted.

    Raises:
        NetworkError: if the host is not known or the address cannot be had.
        TrustError: if the address is not this machine's own and it is not safe.

    """
    family, _, _, _, address = _found(host, port)
    check_reach(str(address[0]), host, is_safe=is_safe)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        text = f"cannot listen on {shown(host)} port {port}: {error.strerror}"
        if error.errno == EADDRINUSE:
            text += " by another program, or by a server that runs already; take another port"
        raise NetworkError(text) from error
    return sock


def _found(host: str, port: int) -> tuple[Any, ...]:
    """Return what the system's resolver says of an address to listen on."""
    try:
        return socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NetworkError(f"cannot listen on {shown(host)}: {reason}") from error


def others_reach(host: str) -> bool:
    """Tell whether other machines can reach a server that listens on *host*.

    Raises:
        NetworkError: if the host is not known.

    """
    return not is_loopback(str(_found(host, 0)[4][0]))


def check_reach(address: str, host: str = "", *, is_safe: bool) -> None:
    """Raise TrustError if other machines can reach the address, and that is not safe.

    Args:
        address: Numeric.
        host: As it was written, for the message.
        is_safe: Whether there is encryption and everybody needs a token, or it is wished otherwise.

    """
    if not is_safe and not is_loopback(address):
        raise TrustError(
            f"{shown(host or address)} can be reached by other machines, and there is no "
            "encryption, or nobody needs a token: listen on 127.0.0.1, talk TLS and ask for "
            "tokens, or add --insecure if everybody who can reach it may use it"
        )
