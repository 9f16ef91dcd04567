"""The buffer of one connection: what was taken in and is not used yet.

It is there only while something may be in it. A connection that nothing has come on yet has none,
and one that waits for long gives it back: idle connections cost next to nothing. And it can be a
small one, of a frame, as long as it is not known who the other side is.

This module must not know sockets, or what the bytes mean.
"""

from __future__ import annotations

from filexfer.transfer import buffers
from filexfer.wire import codec
from filexfer.wire.framing import LENGTH
from filexfer.wire.protocol import FRAME_MAX, PLAIN_MAX

BUFFER = PLAIN_MAX + 2 * FRAME_MAX  # bytes taken in at a time
_NONE = memoryview(b"")
_KEEP = 2  # of each kind
_large = buffers.Pool(BUFFER, _KEEP)
_small = buffers.Pool(FRAME_MAX + 4096, _KEEP)


class Intake:
    """Bytes that came, in the order in which they came."""

    def __init__(self) -> None:
        self._buffer = _NONE
        self._pool = _large  # that the buffer comes from
        self._start = self._stop = 0  # of what is not used yet

    @property
    def has_input(self) -> bool:
        """Whether bytes were taken in that nobody has used yet."""
        return self._stop > self._start

    def _header(self) -> memoryview | None:
        """Return the next frame's header if it is there whole."""
        start = self._start + LENGTH.size
        if self._stop < start:
            return None
        (size,) = LENGTH.unpack_from(self._buffer, self._start)
        if not 1 <= size <= FRAME_MAX:
            raise codec.bad_length(self._buffer[self._start : start])
        if self._stop - start < size:
            return None
        self._start = start + size
        return self._buffer[start : start + size]

    def _has_room(self) -> bool:
        if self._stop == len(self._buffer):
            self._make_room()
        return self._stop < len(self._buffer)

    def _make_room(self, size: int = FRAME_MAX + LENGTH.size) -> None:
        """Make sure that *size* bytes from the first unused one fit into the buffer."""
        have = self._stop - self._start
        if not have:
            self._start = self._stop = 0
            if not self._buffer:
                self._buffer = self._pool.take()
        elif len(self._buffer) - self._start < size:
            self._buffer[:have] = self._buffer[self._start : self._stop]
            self._start, self._stop = 0, have

    def _drop(self) -> None:
        """Forget what is there."""
        self._start = self._stop = 0

    def _give_back(self) -> None:
        """Let others have the buffer, when nothing is in it and nobody looks into it any more."""
        buffer, self._buffer = self._buffer, _NONE
        if buffer:
            self._pool.give(buffer)
        self._drop()

    def begin_small(self) -> None:
        """Do with a small buffer, until ``grow`` is called; before anything has come."""
        self._pool = _small

    def grow(self) -> None:
        """Have a large buffer from now on; what is in it stays."""
        if self._pool is _small:
            unused = bytes(self._buffer[self._start : self._stop])
            self._give_back()
            self._pool = _large
            if unused:
                self._make_room()
                self._buffer[: len(unused)] = unused
                self._stop = len(unused)
