"""A connection that keeps to a limit of its rate.

What is over the limit waits on this side: nothing more is sent, or read (TCP then slows down the
sender). Only the direction that has used up its share waits; the other goes on. These waits are our
own, so neither time-out nor least rate counts them against the other side; and so that they are no
silence to it, a receiver says meanwhile that it is there.

The bytes are counted where they meet the socket, below TLS: as they cross the wire.

This module must not know what is sent, or who else shares the limit.
"""

from __future__ import annotations

from time import monotonic

from filexfer.wire import protocol
from filexfer.wire.connection import Connection
from filexfer.wire.transport import BLOCKED, Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from filexfer.wire.budget import Limit


class PacedPlain(Plain):
    """A socket that takes and gives a piece at a time, and then nothing until that is paid for.

    Attributes:
        receive_at: When it may receive again, on the monotonic clock.
        send_at: When it may send again.

    """

    def __init__(self, sock: socket.socket, limit: Limit) -> None:
        super().__init__(sock)
        self.receive_at = self.send_at = 0.0
        self._limit = limit
        self._is_lifted = False

    def receive_into(self, view: memoryview) -> int:
        """Fill *view* as far as bytes are there; 0 at the end, BLOCKED if none came or may."""
        if self._is_lifted:
            return super().receive_into(view)
        if monotonic() < self.receive_at:
            return BLOCKED
        got = super().receive_into(view[: self._limit.piece])
        if got > 0:
            self.receive_at = self._limit.incoming.spend(got)
        return got

    def send(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Take bytes from the first piece; 0 if the socket has no room, or no more may go yet."""
        if self._is_lifted:
            return super().send(pieces)
        if monotonic() < self.send_at:
            return 0
        sent = super().send([memoryview(pieces[0])[: self._limit.piece]])
        if sent:
            self.send_at = self._limit.outgoing.spend(sent)
        return sent

    def lift(self) -> None:
        """Wait no more: the connection has ended, and what is left crosses no wire."""
        self._is_lifted = True
        self.receive_at = self.send_at = 0.0


class PacedConnection(Connection):
    """One connected socket whose bytes are limited.

    Args:
        sock: Connected; the connection owns it from here on.
        limit: Shared with whom it may concern.
        timeout: As of any connection, as are the others.
        tls: A context, to talk TLS.
        server_side: Which of the two this is.
        hostname: At the client, the name the certificate must have.

    """

    def __init__(
        self,
        sock: socket.socket,
        limit: Limit,
        *,
        timeout: float = 60.0,
        tls: ssl.SSLContext | None = None,
        server_side: bool = False,
        hostname: str = "",
    ) -> None:
        self._paced = PacedPlain(sock, limit)
        super().__init__(
            sock,
            timeout=timeout,
            tls=tls,
            server_side=server_side,
            hostname=hostname,
            plain=self._paced,
        )
        self.part = limit.part

    def _wait(self, *, reading: bool, writing: bool, seconds: float | None = None) -> bool:
        """Wait until the socket can and may be read or written; False when *seconds* are over."""
        now = monotonic()
        pauses = []
        if reading and self._paced.receive_at > now:
            pauses.append(self._paced.receive_at - now)
            reading = False
            self._say_alive(now)
        if writing and self._paced.send_at > now:
            pauses.append(self._paced.send_at - now)
            writing = False
        if not pauses:
            return super()._wait(reading=reading, writing=writing, seconds=seconds)
        pause = min(*pauses, self.timeout / 2)  # less than what would be a time-out
        is_short = seconds is not None and seconds < pause
        waited = self._pace.waited
        came = super()._wait(
            reading=reading, writing=writing, seconds=seconds if is_short else pause
        )
        self._pace.waited = waited
        if came and not (reading or writing):  # that can only be the end
            self._paced.lift()
        return came or not is_short

    def _say_alive(self, now: float) -> None:
        """Queue that this side is there, if it has said nothing for a while and may."""
        if self.may_say_alive and now - self._last_post >= protocol.ALIVE_EVERY:
            self._last_post = now
            self.send(protocol.Alive())


def connected(
    sock: socket.socket,
    limit: Limit | None,
    *,
    timeout: float,
    tls: ssl.SSLContext | None,
    server_side: bool = False,
    hostname: str = "",
) -> Connection:
    """Return a connection, limited if *limit* is given."""
    if limit is None:
        return Connection(
            sock, timeout=timeout, tls=tls, server_side=server_side, hostname=hostname
        )
    return PacedConnection(
        sock, limit, timeout=timeout, tls=tls, server_side=server_side, hostname=hostname
    )
