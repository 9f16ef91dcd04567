"""How much may be written: the largest file, and the space of the disk that is kept free.

Asking the system for the free space takes as long as a tenth of a small file. So one exchange asks
once for so many bytes as cannot do harm: a small share of what is free, and never much.

This module must not know files, or why there is a limit.
"""

from __future__ import annotations

import os
from math import inf

from filexfer.errors import Code, FileError
from filexfer.storage import reservations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.storage.reservations import Reservations

BLOCK = 4096  # bytes that a file takes besides its own, about: its last block, and its name
_STEP = 4 << 20  # bytes that one exchange writes between two looks, at most
_SHARE = 64  # of what is free, so much of it
_GIB = 1 << 30


class Bounds:
    """What may be stored in a folder.

    Attributes:
        max_file_size: Bytes of one file; None for any.
        min_free: Bytes of the disk that are kept free; None for a twentieth of it, but not more
            than 1 GiB.

    """

    def __init__(self) -> None:
        self.max_file_size: int | None = None
        self.min_free: int | None = 0

    def kept(self, fd: int) -> int:
        """Return how many bytes are kept free on the file system of *fd*."""
        if self.min_free is not None:
            return self.min_free
        try:
            found = os.fstatvfs(fd)
        except OSError:
            return 0
        return min(found.f_blocks * found.f_frsize // 20, _GIB)


class Room:
    """What one exchange may write, in one thread.

    Args:
        bounds: Of the folder.
        promised: Bytes that other files still need.

    Attributes:
        left: Bytes that may be written before another look.
        largest: Bytes of one file.

    """

    def __init__(self, bounds: Bounds, promised: Reservations) -> None:
        self._bounds = bounds
        self._promised = promised
        limit = bounds.max_file_size
        self.largest: float = inf if limit is None else limit
        self.left: float = inf if self.largest == inf and bounds.min_free == 0 else 0.0

    def check_size(self, name: str, size: int) -> None:
        """Raise FileError if a file is too large."""
        if size > self.largest:
            raise FileError(Code.TOO_LARGE, name, f"over the limit of {self.largest:,} bytes")

    def look(self, fd: int, name: str, size: int, *, is_promised: bool = False) -> None:
        """Find out whether *size* bytes may be written, and how many more before another look.

        Args:
            fd: Of a folder of the file system.
            name: Of the file, for the failure.
            size: Of the file, or of what is written next.
            is_promised: Whether these bytes are among those promised.

        Raises:
            FileError: if they may not.

        """
        self.check_size(name, size)
        spare: float = inf
        if self._bounds.min_free != 0:
            kept = self._bounds.kept(fd)
            spare = reservations.free_bytes(fd) - kept
            if not is_promised:
                spare -= self._promised.total()
            if size > spare:
                raise FileError(Code.NO_SPACE, name, no_space(kept))
        self.left = min(_STEP, spare // _SHARE, self.largest)

    def spend(self, fd: int, name: str, at: int, size: int, promised: bool) -> None:  # noqa: FBT001 - one of a few plain values, as often as once per piece
        """Find out, before it is done, whether *size* more bytes may be written *at* a place.

        Raises:
            FileError: if they may not.

        """
        if at + size > self.largest:
            self.check_size(name, at + size)
        self.left -= size
        if self.left < 0:
            self.look(fd, name, size, is_promised=promised)

    def reserve(self, fd: int, name: str, size: int, large: int) -> int:
        """Make sure that a file can be begun; if it has *large* bytes or more, promise them to it.

        Returns:
            How many were promised; the caller gives them back.

        Raises:
            FileError: if it cannot.

        """
        if size < large:
            if size >= self.left:
                self.look(fd, name, size)
            self.check_size(name, size)
            return 0
        self.check_size(name, size)
        kept = self._bounds.kept(fd)
        self._promised.add(size)
        if self._promised.total() > reservations.free_bytes(fd) - kept:
            self._promised.add(-size)
            raise FileError(Code.NO_SPACE, name, no_space(kept))
        return size


def no_space(kept: int) -> str:
    """Return the reason of a refusal, with the bytes that are kept free."""
    if not kept:
        return "no space left on the disk for its size"
    return f"no space: {kept:,} bytes of the disk are kept free"
