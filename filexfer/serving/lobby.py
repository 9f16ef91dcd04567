"""Where connections wait until their first frame is there whole, or the first record of TLS.

They cost a descriptor and nothing else meanwhile: no thread, and no buffer, for the bytes stay with
the system until somebody is to read them. Nor does a trickle wake anybody up: the system is told
how many bytes are worth it.

This module must not know how a client is served, or what it says.
"""

from __future__ import annotations

import logging
import select
import socket
from time import monotonic

from filexfer.errors import Code
from filexfer.wire import codec, protocol
from filexfer.wire.framing import LENGTH
from filexfer.wire.protocol import FRAME_MAX
from filexfer.wire.transport import peer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.serving.admission import Ticket

    Guest = tuple[socket.socket, Ticket]

_RECORD = 5  # bytes of the head of a TLS record, the last two of which are its length
_HANDSHAKE = 22  # how the first record begins
_RECORD_MAX = 1 << 14
_NOW = 0
_NEVER = -1
_READY = select.POLLIN

logger = logging.getLogger("filexfer")


class Lobby:
    """The connections that wait; for one thread, which polls for them with others.

    Args:
        poll: What it polls with.
        is_tls: Whether they are to talk TLS.

    """

    def __init__(self, poll: select.poll, *, is_tls: bool) -> None:
        self._poll = poll
        self._is_tls = is_tls
        self._guests: dict[int, Guest] = {}  # by descriptor, the oldest first
        self._wanted: dict[int, int] = {}  # bytes that each is waited for
        self._view = memoryview(bytearray(FRAME_MAX + LENGTH.size))

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def patience(self) -> float | None:
        """Milliseconds until the first of them has waited for too long; None if there is none."""
        for _, ticket in self._guests.values():
            return max(0.0, ticket.deadline - monotonic()) * 1000
        return None

    def receive(self, sock: socket.socket, ticket: Ticket) -> bool:
        """Take in a connection; return whether it need not wait, and has not been taken in."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return True  # not every system can wait for so many bytes there
        missing = self._missing(sock)
        if missing == _NOW:
            return True
        if missing == _NEVER:
            _close(sock, ticket)
            return False
        fd = sock.fileno()
        self._guests[fd] = sock, ticket
        self._await(fd, sock, missing)
        self._poll.register(fd, _READY)
        return False

    def look(self, ready: list[int]) -> list[Guest]:
        """Return those of whom enough is there, and see to those whose time is over.

        Args:
            ready: Descriptors that something was heard of.

        """
        served = []
        for fd in ready:
            if fd not in self._guests:
                continue
            sock, ticket = self._guests[fd]
            missing = self._missing(sock)
            if missing == _NEVER:
                self._forget(fd)
                _close(sock, ticket)
            elif missing in (_NOW, self._wanted[fd]):  # or it has ended, or the system has no room
                self._forget(fd)
                _await(sock, 1)
                served.append((sock, ticket))
            else:
                self._await(fd, sock, missing)
        while self.patience == 0:
            self.drop(Code.TIMEOUT, "it takes too long until a request comes")
        return served

    def drop(self, code: str, text: str) -> bool:
        """Send the oldest away; return whether there was one."""
        for fd, (sock, ticket) in self._guests.items():
            self._forget(fd)
            turn_away(sock, code, "" if self._is_tls else text)
            ticket.leave()
            return True
        return False

    def close(self) -> None:
        """Send all away."""
        while self.drop(Code.SHUTTING_DOWN, "the server is shutting down"):
            pass

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._guests[fd], self._wanted[fd]

    def _await(self, fd: int, sock: socket.socket, size: int) -> None:
        self._wanted[fd] = size
        _await(sock, size)

    def _missing(self, sock: socket.socket) -> int:
        """Return how many bytes must be there before it is worth a look; or _NOW, or _NEVER."""
        try:
            have = sock.recv_into(self._view, 0, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return _RECORD if self._is_tls else LENGTH.size
        except OSError:
            return _NEVER
        if not have:
            return _NEVER
        whole = self._whole(have)
        return _NOW if have >= whole else whole

    def _whole(self, have: int) -> int:
        """Return how many bytes the first frame or record has with its head."""
        view = self._view
        if self._is_tls:
            if view[0] != _HANDSHAKE:
                return _NOW  # which is told to whoever says it
            if have < _RECORD:
                return _RECORD
            return _RECORD + min(int.from_bytes(view[3:5], "big"), _RECORD_MAX)
        if have < LENGTH.size:
            return LENGTH.size
        (size,) = LENGTH.unpack_from(view)
        return LENGTH.size + size if size <= FRAME_MAX else _NOW


def turn_away(sock: socket.socket, code: str, text: str) -> None:
    """Close a connection that is not served; say why, if there is a text, without waiting."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s: %s", peer_of(sock), text or code)
    try:
        sock.setblocking(False)
        if text:
            sock.send(codec.encode(protocol.Error(code=code, text=text)))
            sock.shutdown(socket.SHUT_WR)
        sock.recv(FRAME_MAX)  # what it has said, or else the system may take back our word
    except OSError:
        pass  # it was a courtesy
    sock.close()


def _await(sock: socket.socket, size: int) -> None:
    """Let a poll find the socket ready when so many bytes are there, or the end."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    except OSError:
        pass  # it is gone, which the next look shows


def _close(sock: socket.socket, ticket: Ticket) -> None:
    sock.close()
    ticket.leave()
