"""Deals the pieces of files to several connections, each to the one that is ready for more.

The connections have processes or threads of their own. Two pipes join them, which both kinds can
share: pieces to be moved come by the one, whoever reads first, and by the other comes what became
of them. The first connection leads: it fills the one pipe and empties the other, and moves pieces
as well.

This module must not know whether pieces go up or down.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import struct
from collections import deque
from time import monotonic

from filexfer.errors import FileError, TimedOut
from filexfer.wire.protocol import Alive, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol, Self

    from filexfer.report import Report
    from filexfer.wire.connection import Connection
    from filexfer.wire.schema import Message

    class Line(Protocol):
        """One connection that moves pieces."""

        @property
        def is_idle(self) -> bool:
            """Whether nothing is under way."""

        @property
        def has_room(self) -> bool:
            """Whether another piece may be added."""

        def add(self, deal: Deal) -> None:
            """Begin to move a piece."""

        def collect(self) -> bool:
            """Take what has come, without waiting; False if nothing had."""


TRIES = 3  # for each piece
ID_MAX = 64  # bytes of an id
_DEAL = struct.Struct(f"!IQI{ID_MAX}s")  # smaller than PIPE_BUF: written and read whole
_SIZE = struct.Struct("!H")  # before each word to the leader
_TEXT_MAX = 300  # characters of a failure; a word must be smaller than PIPE_BUF too
_PAUSE = 0.1  # seconds after which the leader looks at the others, at the latest
_PAUSE_OTHERS = 1.0  # after which the others say that they are alive, if it is time


class Deal:
    """One piece of one file.

    Attributes:
        file: Number of the file.
        offset: Where the piece stands in it.
        size: Bytes.
        id: What the receiver knows the file by.
        tries: How often it has been moved.

    """

    __slots__ = ("file", "id", "offset", "size", "tries")

    def __init__(self, file: int, offset: int, size: int, id: str) -> None:  # noqa: A002 - the word of the wire
        self.file = file
        self.offset = offset
        self.size = size
        self.id = id
        self.tries = 0


class Board:
    """What is to be moved and what has been; a context manager.

    Made before the connections get their processes or threads; each method says whose it is.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._take, self._put = os.pipe()
        self._hear, self._say = os.pipe()
        for fd in (self._take, self._put, self._hear):
            os.set_blocking(fd, False)
        self._waiting: deque[bytes] = deque()  # for room in the pipe
        self._left: dict[int, int] = {}  # bytes of each file that are not moved yet
        self._heard = bytearray()
        self._is_open = True
        self.failures: dict[int, FileError] = {}  # of files, by number
        self.report: Report | None = None  # of the leader
        self.is_over = False  # nothing more will be dealt

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()
        for fd in (self._take, self._hear, self._say):
            os.close(fd)

    # The leader's

    def deal(self, file: int, id: str, pieces: Iterable[tuple[int, int]]) -> None:  # noqa: A002 - as above
        """Deal the pieces of a file."""
        self._left[file] = 0
        for offset, size in pieces:
            self._left[file] += size
            self._waiting.append(_DEAL.pack(file, offset, size, id.encode()))
        self.exchange()

    def is_settled(self, file: int) -> bool:
        """Tell whether the file is moved, or has failed."""
        self.exchange()
        return not self._left[file] or file in self.failures

    def settle(self, file: int, size: int) -> None:
        """Count no more what has moved of a file of this size: it is whole, or has failed."""
        if self.report:
            self.report.partial_bytes -= size - self._left[file]

    def exchange(self) -> None:
        """Put more into the one pipe, and take what came by the other."""
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                os.write(self._put, self._waiting[0])
                self._waiting.popleft()
        with contextlib.suppress(BlockingIOError):
            while came := os.read(self._hear, 1 << 16):
                self._heard += came
        while len(self._heard) >= _SIZE.size:
            stop = _SIZE.size + _SIZE.unpack_from(self._heard)[0]
            if len(self._heard) < stop:
                break
            self._take_word(*marshal.loads(self._heard[_SIZE.size : stop]))  # noqa: S302 - our own
            del self._heard[:stop]

    def _take_word(self, file: int, size: int, failure: tuple[str, str, str] | None) -> None:
        self._left[file] -= size
        if self.report:
            self.report.partial_bytes += size
        if failure and file not in self.failures:
            self.failures[file] = FileError(*failure)
            self._drop(file)

    def _drop(self, file: int) -> None:
        """Deal no more of a file that has failed."""
        taken = []
        with contextlib.suppress(BlockingIOError):
            while deal := os.read(self._take, _DEAL.size):
                taken.append(deal)
        kept = [deal for deal in (*taken, *self._waiting) if _DEAL.unpack(deal)[0] != file]
        self._waiting = deque(kept)

    def end(self) -> None:
        """Deal nothing more."""
        if self._is_open:
            self._is_open = False
            os.close(self._put)

    # Everybody's

    def join(self, connection: Connection) -> None:
        """Make ready to move pieces; in another process, let go of what is the leader's.

        No piece may be taken by a connection that the server has no room for.
        """
        connection.flush()
        while connection.greeting and not connection.greeting():
            connection.fill(inside=connection.has_input)
        if os.getpid() != self._owner:
            self.end()
            os.close(self._hear)  # so that nobody waits for a leader that is gone

    def take(self) -> Deal | None:
        """Return the next piece; None if there is none now."""
        try:
            found = os.read(self._take, _DEAL.size)
        except BlockingIOError:
            return None
        if not found:
            self.is_over = True
            return None
        file, offset, size, id_ = _DEAL.unpack(found)
        return Deal(file, offset, size, id_.rstrip(b"\0").decode())

    def moved(self, deal: Deal) -> None:
        """Note that a piece is there."""
        self._tell(deal.file, deal.size, None)

    def failed(self, deal: Deal, error: FileError) -> None:
        """Note that a piece cannot be moved, and so its file fails."""
        self._tell(deal.file, 0, (error.code, error.name, error.text[:_TEXT_MAX]))

    def _tell(self, file: int, size: int, failure: tuple[str, str, str] | None) -> None:
        data = marshal.dumps((file, size, failure))
        os.write(self._say, _SIZE.pack(len(data)) + data)

    def wait(self, connection: Connection, seconds: float, *, leads: bool, deals: bool) -> None:
        """Wait until something comes from anywhere, at most so long.

        Args:
            connection: One's own; what comes there is taken in.
            seconds: How long.
            leads: Whether this is the leader.
            deals: Whether another piece may be taken.

        """
        inside = connection.has_input
        if connection.fill(0.0, inside=inside):
            return
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        if leads:
            poll.register(self._hear, select.POLLIN)
        if deals and not self.is_over:
            poll.register(self._take, select.POLLIN)
        if any(fd == connection.fileno() for fd, _ in poll.poll(seconds * 1000)):
            connection.fill(0.0, inside=inside)


def work(
    connection: Connection,
    board: Board,
    line: Line,
    report: Report,
    until: Callable[[], bool] | None = None,
) -> None:
    """Move pieces on one connection; with *until* as the leader, as long as that says no.

    Raises:
        TimedOut: if pieces are under way and nothing moves for the connection's time-out.

    """
    last, since = connection.moved, monotonic()
    while not until() if until else not (board.is_over and line.is_idle):
        deal = board.take() if line.has_room and not board.is_over else None
        if deal:
            line.add(deal)
        if not line.collect() and not deal and not (board.is_over and line.is_idle):
            connection.keep_alive()
            pause = _PAUSE if until else _PAUSE_OTHERS
            board.wait(connection, pause, leads=bool(until), deals=line.has_room)
            if line.is_idle or connection.moved != last:
                last, since = connection.moved, monotonic()
            elif monotonic() - since > connection.timeout:
                raise TimedOut(f"nothing moved for {connection.timeout:g} seconds")
        report.progress()


def collect(connection: Connection, take: Callable[[Message], None]) -> bool:
    """Hand every answer that has come to *take*, without waiting; False if there was none."""
    any_came = False
    while message := connection.message(State.ANSWERING):
        any_came = True
        if type(message) is not Alive:
            take(message)
    return any_came


def settle(connection: Connection, board: Board, line: Line, report: Report) -> None:
    """As the leader, take the answers to all that is under way on the own connection."""
    work(connection, board, _Closed(line), report, lambda: line.is_idle)


class _Closed:
    """A line that takes nothing more."""

    has_room = False

    def __init__(self, line: Line) -> None:
        self.collect = line.collect
        self.add = line.add
        self._line = line

    @property
    def is_idle(self) -> bool:
        return self._line.is_idle
