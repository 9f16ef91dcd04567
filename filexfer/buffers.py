"""Large buffers for large bodies, from a pool that bounds the memory of a process.

This module must not know what is in them.
"""

from __future__ import annotations

from _thread import allocate_lock  # the whole of threading takes 0.7 ms to load
from contextlib import contextmanager

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
