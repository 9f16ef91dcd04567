"""The handshake at a server; a client that talks no TLS is told in the clear what to do.

This module must not know what is talked about after it.
"""

from __future__ import annotations

from filexfer.errors import Code, RefusedError, TrustError
from filexfer.wire.transport import NotTls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.wire.connection import Connection


def shake_hands(connection: Connection) -> None:
    """Agree on TLS, where the server talks it.

    Raises:
        RefusedError: if the client talks in the clear; the connection does so too from then on,
            for the answer.
        TrustError, ConnectionLost, TimedOut: as ``Connection.handshake`` does.

    """
    try:
        connection.handshake()
    except NotTls as error:
        if not error.is_frame:
            raise TrustError(str(error)) from None
        plain = error.plain
        connection.change_parts(lambda _, waiting: (plain, waiting))
        raise RefusedError(
            Code.AUTH_FAILED,
            "this server talks TLS only: hand the connect string that it shows to "
            "'filexfer login NAME', then use NAME:PATH",
        ) from None
