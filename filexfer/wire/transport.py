"""Moves bytes through one non-blocking socket, in the clear or inside TLS.

Both classes offer the same few calls, none of which waits. ``Tls`` keeps OpenSSL away from the
socket (memory buffers between them): one thread moves both directions, calls move more than the
16 KiB of a TLS record, and no TLS object is ever used by two threads, which OpenSSL forbids.

This module must not know frames, messages or time.
"""

from __future__ import annotations

import socket

from filexfer.errors import ConnectionLost, TrustError
from filexfer.transfer.buffers import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Transport(Protocol):
        """What a connection needs of a socket."""

        @property
        def unsent(self) -> bool:
            """Whether bytes taken by ``send`` still wait for room in the socket."""

        def receive_into(self, view: memoryview) -> int:
            """Fill *view* as far as bytes are there; 0 at the end, BLOCKED if none came yet."""

        def send(self, pieces: Sequence[bytes | memoryview]) -> int:
            """Take bytes from the beginning of *pieces*; 0 if the socket has no room."""

        def push(self) -> bool:
            """Hand waiting bytes to the socket; True if none are left."""

        def shake_hands(self) -> bytes | None:
            """Go on with the handshake; when it is done, return the other side's certificate."""


ALPN = "filexfer/1"  # what both sides must say in the handshake, or something else answers there
BLOCKED = -1
_PIECES_MAX = 1024  # IOV_MAX of Linux and macOS
# Bytes handed to and taken from OpenSSL's buffers at a time. 2 GiB took 2.41 times as long as
# cp -r with 256 KiB for both, 2.0 with these, and no less with more; below 256 KiB up to 2.8.
_TLS_OUT = 512 << 10
_TLS_IN = 1 << 20
_TLS_LEAST = 32 << 10  # more than a record; OpenSSL's buffer stays as large as what came at once
_pieces = Pool(_TLS_IN, keep=4)
_KEEP_ALIVE = [  # an idle connection whose other side has vanished ends after a minute
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_KEEPIDLE", 30),  # seconds until the first probe
        ("TCP_KEEPALIVE", 30),  # the same on macOS
        ("TCP_KEEPINTVL", 10),  # seconds between two
        ("TCP_KEEPCNT", 3),  # probes without an answer
    )
    if hasattr(socket, name)
]
_RECORDS = range(20, 24)  # how a TLS record begins; a frame of ours begins with 0


class NotTls(Exception):  # noqa: N818 - this module's one finding, translated by its caller
    """A client talks no TLS to a server that does.

    Attributes:
        plain: The socket below, to tell it so.
        is_frame: Whether what it said may have been a frame of ours.

    """

    def __init__(self, plain: Plain, *, is_frame: bool) -> None:
        super().__init__("the client talks no TLS")
        self.plain = plain
        self.is_frame = is_frame


class Plain:
    """A socket as it is."""

    unsent = False

    def __init__(self, sock: socket.socket) -> None:
        self._receive = sock.recv_into
        self._send = sock.sendmsg  # gathers, which spares a copy

    def receive_into(self, view: memoryview) -> int:
        """Fill *view* as far as bytes are there; 0 at the end, BLOCKED if none came yet."""
        try:
            return self._receive(view)
        except BlockingIOError:
            return BLOCKED
        except OSError as error:
            raise _lost(error) from error

    def send(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Take bytes from the beginning of *pieces*; 0 if the socket has no room."""
        try:
            return self._send(pieces[:_PIECES_MAX])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _lost(error) from error

    def push(self) -> bool:
        """Return True: nothing ever waits here."""
        return True

    def shake_hands(self) -> bytes | None:
        """Return nothing for a certificate: there is nothing to agree on."""
        return b""


class Tls:
    """A socket with TLS over it.

    Args:
        plain: The socket below it, connected and non-blocking.
        context: With certificate and key at the server, with what is trusted at the client.
        server_side: Which of the two this is.
        hostname: At the client, the name that the certificate must have, if the context checks it.

    """

    def __init__(
        self, plain: Plain, context: ssl.SSLContext, *, server_side: bool, hostname: str = ""
    ) -> None:
        import ssl  # noqa: PLC0415 - costs 11 ms that only TLS needs

        self._ssl = ssl
        self._plain = plain
        self._server_side = server_side
        self._is_begun = False  # whether anything came
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side, None if server_side else hostname or None
        )
        # The C object's own call, where there is one: 3 % less time for large files. With a buffer
        # it returns a count, which the declared type does not say.
        found: Any = getattr(self._object, "_sslobj", self._object)
        self._read: Callable[[int, memoryview], int] = found.read
        self._waiting = memoryview(b"")

    @property
    def unsent(self) -> bool:
        """Whether bytes taken by ``send`` still wait for room in the socket."""
        return bool(self._waiting) or self._outgoing.pending > 0

    def receive_into(self, view: memoryview) -> int:
        """Fill *view* as far as bytes are there; 0 at the end, BLOCKED if none came yet."""
        got, size, read = 0, len(view), self._read
        while got < size:
            try:
                count = read(size, view[got:])  # a record, of at most 16 KiB
                if not count:  # the other side said goodbye
                    break
                got += count
            except self._ssl.SSLWantReadError:
                if got:
                    break
                state = self._take_in(size - got)
                if state <= 0:
                    return state
            except (self._ssl.SSLZeroReturnError, self._ssl.SSLEOFError):
                break
            except self._ssl.SSLError as error:
                raise _tls_failed(error) from error
        return got

    def send(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Take bytes from the beginning of *pieces*; 0 if the socket has no room."""
        if not self.push():
            return 0
        first = memoryview(pieces[0])
        if len(first) < _TLS_OUT and len(pieces) > 1:
            first = memoryview(b"".join(pieces[:_PIECES_MAX]))
        try:
            taken = self._object.write(first[:_TLS_OUT])
        except self._ssl.SSLError as error:
            raise _tls_failed(error) from error
        self.push()
        return taken

    def push(self) -> bool:
        """Hand waiting bytes to the socket; True if none are left."""
        while True:
            if not self._waiting:
                if not self._outgoing.pending:
                    return True
                self._waiting = memoryview(self._outgoing.read())
            sent = self._plain.send([self._waiting])
            if not sent:
                return False
            self._waiting = self._waiting[sent:]

    def shake_hands(self) -> bytes | None:
        """Go on with the handshake; when it is done, return the other side's certificate (DER).

        Raises:
            NotTls: at the server, if the client talks something else.
            TrustError: if the two sides cannot agree.
            ConnectionLost: if the socket ends before they have (a port probe does that).

        """
        while True:
            try:
                self._object.do_handshake()
            except self._ssl.SSLWantReadError:
                self.push()
                state = self._take_in(0)
                if state == BLOCKED:
                    return None
                if state == 0:
                    raise ConnectionLost("the connection ended during the TLS handshake") from None
            except self._ssl.SSLError as error:
                self.push()  # the alert that tells the other side
                raise _tls_failed(error) from error
            else:
                self.push()
                if self._object.selected_alpn_protocol() != ALPN:
                    raise TrustError("the other side talks TLS, but it is no filexfer")
                return self._object.getpeercert(binary_form=True) or b""

    def _check_first(self, byte: int) -> None:
        """Find out by its first byte whether the other side talks TLS."""
        self._is_begun = True
        if byte in _RECORDS:
            return
        if self._server_side:
            raise NotTls(self._plain, is_frame=byte == 0) from None
        raise TrustError(
            "what answers there talks no TLS; it is no server that is meant for other machines, "
            "or somebody on the way wants to read along. Nothing was sent"
        ) from None

    def _take_in(self, wanted: int) -> int:
        """Hand to OpenSSL what is there, about as much as is wanted of it."""
        piece = _pieces.take()  # for this call alone, so that what is idle holds none
        try:
            got = self._plain.receive_into(piece[: max(wanted, _TLS_LEAST)])
            if got > 0:
                if not self._is_begun:
                    self._check_first(piece[0])
                self._incoming.write(piece[:got])
            elif got == 0:
                self._incoming.write_eof()
        finally:
            _pieces.give(piece)
        return got


def prepare(sock: socket.socket) -> None:
    """Set what holds for all our connections: no delay, and probes while nothing moves.

    Linux's TCP_USER_TIMEOUT is not set. It cuts a side that takes nothing for so long also if that
    side is alive and says so (with its disk, for one), and it delays the end by these probes. While
    bytes are under way the connection's own time-outs do what it would.
    """
    sock.setblocking(False)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        pass  # it broke already, which the first use tells (macOS)


def peer_of(sock: socket.socket) -> str:
    """Return who is at the other end, for logs."""
    try:
        address = sock.getpeername()
    except OSError:
        return "unknown"
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address) or "local"


def _lost(error: OSError) -> ConnectionLost:
    return ConnectionLost(f"the connection was lost: {error.strerror or error}")


def _tls_failed(error: ssl.SSLError) -> TrustError:
    return TrustError(
        f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or error}"
    )
