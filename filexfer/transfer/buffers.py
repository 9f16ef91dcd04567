"""Buffers from pools that bound the memory of a process: large ones for large bodies, and others.

This module must not know what is in them.
"""

from __future__ import annotations

from _thread import allocate_lock  # the whole of threading takes 0.7 ms to load
from contextlib import contextmanager
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM = 4  # bytes beside a piece, for the length that stands before it or after it
LARGE = (2 << 20) + ROOM  # bytes; pieces of this size move at full speed
SMALL = (128 << 10) + ROOM  # bytes; about a third slower, when the pool is empty
POOL = 8  # large buffers in a process

_free: list[bytearray] = []
_made = 0
_lock = allocate_lock()  # guards _free and _made


@contextmanager
def borrowed() -> Iterator[memoryview]:
    """Lend a buffer: a large one if the pool has one left, else a small one.

    Nobody ever waits for one, so that a slow transfer holds up no other.
    """
    buffer = _take()
    view = memoryview(buffer)
    try:
        yield view
    finally:
        view.release()
        if len(buffer) == LARGE:
            with _lock:
                _free.append(buffer)


def _take() -> bytearray:
    global _made  # noqa: PLW0603 - the pool of the process
    with _lock:
        if _free:
            return _free.pop()
        if _made < POOL:
            _made += 1
            return bytearray(LARGE)
    return bytearray(SMALL)


class Pool:
    """Buffers of one size; as many as are asked for, of which a few are kept when not in use.

    The memory of the others goes back to the system at once, which is not so for smaller pieces.

    Args:
        size: Of each, in bytes.
        keep: How many unused ones are kept.

    """

    def __init__(self, size: int, keep: int) -> None:
        self._size = size
        self._keep = keep
        self._free: list[memoryview] = []
        self._lock = allocate_lock()  # guards _free

    def take(self) -> memoryview:
        """Return a buffer; what is in it is of no use."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return memoryview(mmap(-1, self._size, flags=MAP_PRIVATE | MAP_ANONYMOUS))

    def give(self, buffer: memoryview) -> None:
        """Take back a buffer that nobody uses any more."""
        with self._lock:
            if len(self._free) < self._keep:
                self._free.append(buffer)
