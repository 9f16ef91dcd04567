"""Waits for one socket, and meanwhile takes note of what happens elsewhere.

This module must not know what is said on the socket.
"""

from __future__ import annotations

import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Waiting:
    """The waits for one socket; for one thread.

    Args:
        sock: The socket.

    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, 0)
        self._watched: dict[int, Callable[[], object]] = {}

    def watch(self, fd: int, call: Callable[[], object]) -> None:
        """During any wait, call *call* when *fd* can be read or its other end is closed."""
        self._poll.register(fd, select.POLLIN)
        self._watched[fd] = call

    def unwatch(self, fd: int) -> None:
        """Watch *fd* no more; harmless when it is not watched."""
        if self._watched.pop(fd, None):
            self._poll.unregister(fd)

    def wait(self, *, reading: bool, writing: bool, seconds: float) -> bool:
        """Wait until the socket can be read or written; False when *seconds* have passed."""
        self._poll.modify(
            self._sock, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0)
        )
        until = monotonic() + seconds
        left = seconds
        while left >= 0 and (ready := self._poll.poll(left * 1000)):
            calls = [self._watched[fd] for fd, _ in ready if fd in self._watched]
            for call in calls:
                call()
            if len(calls) < len(ready):
                return True
            left = until - monotonic()
        return False
