"""Bytes that large files under way will still need, so that free space is not promised twice.

The counts lie in memory that a server's worker processes share: each writes only its own slot,
so a sum needs no lock between processes. Several servers of one disk, and other programs, do not
know of each other: then a file may fail half-way for want of space, as it does without any of this.

This module must not know files.
"""

from __future__ import annotations

import os
import struct
from _thread import allocate_lock  # the whole of threading takes 0.7 ms to load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

SLOTS = 256
_COUNT = struct.Struct("q")
_PAGE = SLOTS * _COUNT.size


class Reservations:
    """Promised bytes, of this process and its siblings."""

    def __init__(self) -> None:
        self._shared: mmap | None = None
        self._slot = 0
        self._lock = allocate_lock()  # guards the own slot

    def share(self) -> None:
        """Before the workers are made: count together with them from now on."""
        self._shared = _page()

    def use_slot(self, slot: int) -> None:
        """In a worker: count in this slot, from 0 on; what a dead predecessor left is dropped."""
        self._slot = slot
        if self._shared is not None:
            _COUNT.pack_into(self._shared, slot * _COUNT.size, 0)

    def add(self, size: int) -> None:
        """Promise *size* more bytes; a negative size gives some back."""
        with self._lock:
            if self._shared is None:
                self._shared = _page()
            at = self._slot * _COUNT.size
            (now,) = _COUNT.unpack_from(self._shared, at)
            _COUNT.pack_into(self._shared, at, max(0, now + size))

    def total(self) -> int:
        """Return all that is promised, in bytes."""
        return sum(count for (count,) in _COUNT.iter_unpack(self._shared)) if self._shared else 0


def _page() -> mmap:
    from mmap import mmap  # noqa: PLC0415 - 0.3 ms, not for those who promise nothing

    return mmap(-1, _PAGE)


def free_bytes(fd: int) -> int:
    """Return the free bytes of the file system of *fd*, or a very large number if it is silent."""
    try:
        found = os.fstatvfs(fd)
    except OSError:
        return 2**63
    if not found.f_blocks:  # some network and user-space file systems say nothing but zeros
        return 2**63
    return found.f_bavail * found.f_frsize
