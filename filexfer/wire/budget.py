"""How many bytes per second may move, for all processes and threads that share the limit.

One number says until when everything that was moved is paid for: each byte that moves puts it off
by its share of a second. Whoever has moved a piece waits for the time that the number shows then,
which puts all of them in a row, each with its turn, and makes the sum exact whatever each does.

The number lies in memory that forked processes share, behind a record lock. That lock belongs to
the process that took it, and the system takes it back when that process ends, in whatever way: one
that is killed holds up nobody. It is not inherited by a fork either. Between the threads of one
process, where record locks do nothing, a usual lock stands before it. What a process has moved and
not entered when it is killed is one piece at most.

This module must not know connections, or in which direction anything moves.
"""

from __future__ import annotations

import fcntl
import math
import os
import threading
import weakref
from mmap import mmap
from time import monotonic  # all processes of a machine see the same

from filexfer.errors import UsageError
from filexfer.wire.protocol import PART_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 2048  # bytes per second of a connection: twice of what the other side insists on
CREDIT = 0.08  # seconds that an idle or late budget may catch up on, all at once
PIECE_SECONDS = 0.02  # moved at a time; with the credit, a burst is a tenth of a second
PIECE_LEAST = 512  # bytes; with less, half of a slow line would be headers
PIECE_MOST = 1 << 20
_PART_LEAST = 4096


class Budget:
    """Bytes that may move in one direction; to be made before the processes that share it.

    Args:
        rate: Bytes per second.
        clock: Tells the seconds, alike in all the processes.

    """

    def __init__(self, rate: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._clock = clock
        # One number of 8 bytes, which the machine stores in one go.
        self._paid = memoryview(mmap(-1, 8)).cast("d")
        self._file = _file_without_name()
        weakref.finalize(self, os.close, self._file)
        self._threads = threading.Lock()

    def spend(self, size: int) -> float:
        """Enter *size* bytes that were moved; return when whoever did may move more."""
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                paid = self._paid[0] = paid_after(self._paid[0], self._clock(), size / self._rate)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return paid


def paid_after(paid: float, now: float, seconds: float) -> float:
    """Return until when all is paid for, after what costs *seconds*; unused time is forgotten."""
    return max(paid, now - CREDIT) + seconds


class Limit:
    """A rate that holds for each direction on its own, and what follows from it.

    Args:
        rate: Bytes per second.

    Attributes:
        incoming: The budget of what is received.
        outgoing: The budget of what is sent.
        piece: Bytes that may move at once.
        part: Bytes of a large body between two looks at how far it is.

    Raises:
        UsageError: if it is too low, or no number.

    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.check(1)
        self.incoming = Budget(rate)
        self.outgoing = Budget(rate)
        self.piece = int(min(max(rate * PIECE_SECONDS, PIECE_LEAST), PIECE_MOST))
        self.part = int(min(max(rate / 4, _PART_LEAST), PART_MAX))

    def check(self, connections: int) -> None:
        """Refuse a rate that so many connections cannot live on.

        Raises:
            UsageError: if it is too low.

        """
        if not LEAST * connections <= self.rate < math.inf:
            whom = f" for {connections} connections" if connections > 1 else ""
            raise UsageError(
                f"bwlimit must be at least {LEAST * connections} bytes per second{whom}, "
                f"not {self.rate:g}; leave it out for no limit"
            )


def _file_without_name() -> int:
    """Return the descriptor of a file that only this process and its children ever see."""
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("filexfer-budget")
        except OSError:
            pass  # forbidden here; a usual file does as well
    import tempfile  # noqa: PLC0415 - seldom needed, and loads much

    fd, path = tempfile.mkstemp(prefix="filexfer-budget-")
    os.unlink(path)
    return fd
