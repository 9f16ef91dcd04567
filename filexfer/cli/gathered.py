"""Lines that are gathered, and written to standard output a few times a second.

A write for each line would take longer than what it tells of. What is being written when a signal
comes is neither lost nor torn: the next write goes on with it.

This module must not know what the lines say.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import contextmanager
from threading import Lock
from time import monotonic

from filexfer.errors import LocalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

EVERY = 0.2  # seconds, at least, between two writes
LINES_MOST = 4096  # that wait to be written
_PIECE = 1 << 16  # characters that are written at once, or more if one line has them


class Gathered:
    """The lines of this process; a process that it forks writes none of them."""

    def __init__(self) -> None:
        self._fd = _standard_output()
        self._lines: list[str] = []  # not handed on yet
        self._batch: tuple[memoryview, list[int]] = (memoryview(b""), [])  # and what is written
        self._lock = Lock()  # guards the batch: lines may come from threads
        self._lost: OSError | None = None  # why nothing can be written any more
        self._next = monotonic() + EVERY
        self._was_interrupted = self._is_urgent = False
        self._is_over = False  # the last line is in the batch

    @property
    def failure(self) -> str:
        """Why lines were lost; empty if none were, or if whoever read them has gone."""
        lost = self._lost
        return "" if lost is None or isinstance(lost, BrokenPipeError) else str(lost.strerror)

    def flush(self) -> None:
        """Write what was gathered.

        Raises:
            BrokenPipeError: if whoever read standard output has gone.
            LocalError: if it takes no more for another reason.

        """
        self.hand_on()
        if isinstance(self._lost, BrokenPipeError):
            raise self._lost
        if self._lost:
            raise LocalError(f"standard output: {self.failure}") from self._lost

    def flush_in_time(self) -> None:
        """Do the same if it was not done for a while, or much was gathered."""
        if monotonic() >= self._next or len(self._lines) >= LINES_MOST:
            self._next = monotonic() + EVERY
            self.flush()

    def hand_on(self) -> None:
        """Write what was gathered; that it cannot be written is only noted."""
        if self._was_interrupted:
            return  # the last line takes it along
        try:
            with self._lock:
                self._write_all("", is_last=False)
        except KeyboardInterrupt:
            self._was_interrupted = True
            raise

    def hand_on_last(self, last: str) -> None:
        """Write what was gathered, then *last*, and nothing any more.

        No signal keeps them from being written; but if nobody reads them it ends the waiting.
        """
        with self._lock, handling({signal.SIGINT: self._hurry, signal.SIGTERM: self._hurry}):
            self._write_all("" if self._is_over else last, is_last=True)
            self._fd = None

    def _hurry(self, *_: object) -> None:
        self._is_urgent = True

    def _write_all(self, last: str, *, is_last: bool) -> None:
        try:
            is_written = self._write(is_last=is_last)  # what a signal has left of a write
            while is_written and self._lines:
                some = _first(self._lines)
                data, count = memoryview("".join(some).encode("ascii")), len(some)
                self._batch, self._lines[:count] = (data, []), []  # no signal comes between
                is_written = self._write(is_last=is_last)
            if is_written and last:
                self._batch, self._is_over = (memoryview(last.encode("ascii")), []), True
                self._write(is_last=is_last)
        except OSError as error:
            self._fd, self._lost = None, error

    def _write(self, *, is_last: bool) -> bool:
        """Write the batch; return False if that was given up."""
        data, sizes = self._batch
        while self._fd is not None and (at := sum(sizes)) < len(data):
            piece = data[at:]
            if is_last:  # no more than a pipe takes at once: a signal would not end the write
                piece = piece[: select.PIPE_BUF]
                if not _is_ready(self._fd):
                    if self._is_urgent:
                        return False
                    continue
            try:
                # In one step of the interpreter, between which and the next signals come.
                sizes.extend(map(os.write, (self._fd,), (piece,)))
            except BlockingIOError:
                _is_ready(self._fd)
        return True


@contextmanager
def handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    """Handle signals, but those that are ignored, while the block runs."""
    before = {}
    try:
        for number, handler in handlers.items():
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    except ValueError:  # signals come to the main thread, and this is another
        pass
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def _first(lines: list[str]) -> list[str]:
    """Return the first of the lines, as many as the processor's cache can hold."""
    size = 0
    for number, each in enumerate(lines, 1):
        size += len(each)
        if size >= _PIECE:
            return lines[:number]
    return lines[:]


def _is_ready(fd: int) -> bool:
    """Wait a moment until it takes more; tell whether it does."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(1000 * EVERY))


def _standard_output() -> int | None:
    """Return its descriptor; None if it is closed."""
    try:
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return None
