"""How much of a large body a receiver has: counted, and told to a sender that shows it.

This module must not know bodies.
"""

from __future__ import annotations

from time import monotonic

from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.report import Report
    from filexfer.wire.connection import Connection

TELL_EVERY = 0.25  # seconds


class Partial:
    """The bytes that are in of one body after another.

    Args:
        report: Counts them.

    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._size = 0
        self._told = 0.0  # when that was

    def add(self, size: int) -> None:
        """Note that so many more bytes are in."""
        self._size += size
        self._report.moved += size
        self._report.partial_bytes += size
        self._report.progress()

    def tell(self, connection: Connection, received: int) -> None:
        """Tell the sender, if it is time; *received* is the number of the last whole item."""
        now = monotonic()
        if now - self._told >= TELL_EVERY:
            self._told = now
            connection.send(protocol.Received(count=received, part=self._size))
            connection.flush()

    def end(self) -> None:
        """Note that the body is whole, or given up."""
        self._report.partial_bytes -= self._size
        self._size = 0
