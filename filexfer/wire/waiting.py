"""Waits for one socket, meanwhile takes note of what happens elsewhere, and how long it took.

This module must not know what is said on the socket.
"""

from __future__ import annotations

import select
import socket
from time import monotonic

from filexfer.errors import TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_FOREVER = float("inf")  # to import it from math costs more
_ENDS = getattr(select, "POLLRDHUP", 0)  # Linux only
_MOST = 8 << 20  # bytes that the system may hold for a socket
HEARD = 20  # times as long may a side take little that says it is busy: with its disk, or paced


class Pace:
    """Fails a side that keeps something going with a trickle.

    Only the time counts that it is waited for, not what is done besides.

    Args:
        does: What it does too slowly, in a word.

    Attributes:
        waited: Seconds, since it was last found to be fast enough.
        was_heard: Whether it has said something meanwhile.

    """

    __slots__ = ("_does", "_from", "waited", "was_heard")

    def __init__(self, does: str) -> None:
        self._does = does
        self.restart(0)

    def restart(self, moved: int) -> None:
        """Begin anew, when so many bytes have moved in all."""
        self.waited, self.was_heard, self._from = 0.0, False, moved

    def check(self, moved: int, span: float, rate: int) -> None:
        """When it was waited for so many seconds, look how many bytes have moved in all by then.

        A side that has said something meanwhile gets longer, but not for ever.

        Raises:
            TimedOut: if they are fewer than belong to that time at this rate.

        """
        if self.was_heard:
            span *= HEARD
        if self.waited >= span:
            if moved - self._from < rate * span:
                raise TimedOut(f"the other side {self._does} less than {rate} bytes per second")
            self.restart(moved)


class Waiting:
    """The waits for one socket; for one thread.

    Args:
        sock: The socket.

    Attributes:
        longest: Seconds after which it looks up and goes on waiting. Python runs the handler of a
            signal only then, if the signal came just before the system began to wait, or to
            another thread.

    """

    def __init__(self, sock: socket.socket) -> None:
        self.longest = _FOREVER
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, 0)
        self._watched: dict[int, Callable[[], object]] = {}

    def was_cut(self, last: bytes) -> bool:
        """Tell whether the other side sends no more, and what is still to be read has no *last*.

        Not every system can tell so early.
        """
        self._poll.modify(self._sock, _ENDS)
        number = self._sock.fileno()
        if all(fd != number for fd, _ in self._poll.poll(0)):
            return False
        try:
            return not self._sock.recv(_MOST, socket.MSG_PEEK).endswith(last)
        except OSError:
            return True

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
        while True:
            ready = self._poll.poll(min(left, self.longest) * 1000)
            calls = [self._watched[fd] for fd, _ in ready if fd in self._watched]
            for call in calls:
                call()
            if len(calls) < len(ready):
                return True
            left = until - monotonic()
            if left <= 0:
                return False
