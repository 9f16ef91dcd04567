"""Accepts connections, has them counted, and lets them wait until they have said something.

Under a flood it sends away: whoever is one too many, with the reason; and of those that have said
nothing yet the oldest, so that who comes and speaks gets in.

This module must not know what is said on a connection, or how many processes accept on the port.
"""

from __future__ import annotations

import errno
import logging
import select
import threading
from time import monotonic, sleep

from filexfer.errors import Code, FilexferError, RefusedError
from filexfer.serving.admission import source_of
from filexfer.serving.lobby import Lobby, turn_away

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from filexfer.serving.admission import Admission, Ticket
    from filexfer.wire.connection import Connection

# The machine is short of something; it passes.
_OVERLOAD = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Of one connection only; accept(2) of Linux passes on what happened to it.
_OF_ONE = {errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
_OVERLOAD_PAUSE = 0.1  # seconds
_PAUSE = 0.005  # seconds, longer than the system takes to let another worker run
_PAUSES = 16  # at once and per second; with more, a flood would be let in too slowly
_FEW = 8  # connections; with more, they fall evenly to the workers by themselves
_TELLERS = 8  # connections that are told over TLS, at the same time, why they are not served
_TELL_SECONDS = 3.0  # for each

logger = logging.getLogger("filexfer")


class Reception:
    """Takes in the connections of one process; for one thread.

    Args:
        listener: Where they come from.
        admission: Counts them.
        connect: Makes a connection of a socket.
        begin: Begins to serve a connection.
        drop: Cuts the oldest connection that is served and has not said who it is; returns
            whether there is one.
        is_tls: Whether they talk TLS.

    """

    def __init__(
        self,
        listener: socket.socket,
        admission: Admission,
        *,
        connect: Callable[[socket.socket], Connection],
        begin: Callable[[socket.socket, Ticket], bool],
        drop: Callable[[], bool],
        is_tls: bool,
    ) -> None:
        self._listener = listener
        self._admission = admission
        self._connect = connect
        self._begin = begin
        self._drop = drop
        self._is_tls = is_tls
        self._poll = select.poll()
        self._lobby = Lobby(self._poll, is_tls=is_tls)
        self._tellers = threading.BoundedSemaphore(_TELLERS)
        self._pauses = float(_PAUSES)
        self._accepted = monotonic()
        self.has_siblings = False

    def run(self, stops: Callable[[set[int]], bool], watched: list[int]) -> None:
        """Take in connections until it is told to stop.

        Args:
            stops: Tells whether to stop, by the descriptors that can be read.
            watched: Those that it is about.

        """
        self._listener.setblocking(False)
        for fd in (self._listener.fileno(), *watched):
            self._poll.register(fd, select.POLLIN)
        try:
            while True:
                ready = [fd for fd, _ in self._poll.poll(self._lobby.patience)]
                if stops(set(ready)):
                    return
                for sock, ticket in self._lobby.look(ready):
                    self._serve(sock, ticket)
                if self._listener.fileno() in ready:
                    self._accept()
        finally:
            self._lobby.close()

    def _accept(self) -> None:
        if self.has_siblings and 0 < self._admission.mine < _FEW:
            self._wait_for_siblings()
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # a sibling process was faster, or the client has gone
        except OSError as error:
            if error.errno in _OF_ONE:
                return
            if error.errno not in _OVERLOAD:
                raise
            logger.warning("cannot accept a connection: %s", error.strerror)
            sleep(_OVERLOAD_PAUSE)
            return
        try:
            ticket = self._admission.enter(source_of(address))
        except RefusedError as error:
            self._refuse(sock, error)
            return
        if self._admission.wants_room():
            text = "the server has too many new connections; try again later"
            if not self._lobby.drop(Code.BUSY, text):
                self._drop()
        if self._lobby.receive(sock, ticket):
            self._serve(sock, ticket)

    def _wait_for_siblings(self) -> None:
        """Let another worker that has nothing to do be faster."""
        now = monotonic()
        self._pauses = min(float(_PAUSES), self._pauses + (now - self._accepted) * _PAUSES)
        self._accepted = now
        if self._pauses >= 1.0:
            self._pauses -= 1.0
            sleep(_PAUSE)

    def _serve(self, sock: socket.socket, ticket: Ticket) -> None:
        if not self._begin(sock, ticket):
            ticket.leave()
            self._refuse(sock, RefusedError(Code.BUSY, "the server has no room; try again later"))

    def _refuse(self, sock: socket.socket, error: RefusedError) -> None:
        """Tell a connection why it is not served, and close it."""
        if self._is_tls and self._tellers.acquire(blocking=False):
            try:
                threading.Thread(target=self._tell, args=(sock, error), daemon=True).start()
            except RuntimeError:  # no more threads are to be had
                self._tellers.release()
            else:
                return
        turn_away(sock, error.code, "" if self._is_tls else str(error))

    def _tell(self, sock: socket.socket, error: RefusedError) -> None:
        """Tell over TLS, which takes an exchange of its own first."""
        try:
            connection = self._connect(sock)
            logger.info("%s: %s", connection.peer, error)
            connection.deadline = monotonic() + _TELL_SECONDS
            try:
                connection.handshake()
                connection.fail(error)
            except FilexferError:
                pass  # it was a courtesy
            finally:
                connection.close()
        finally:
            self._tellers.release()
