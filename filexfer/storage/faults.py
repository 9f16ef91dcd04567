"""Whether the disk has failed to make durable what it had taken; then nothing more is put there.

A disk that took bytes and lost them may do so again, and what it lost is forgotten by the system:
the next flush would be called a success. The mark lies in memory that a server's worker processes
share, and holds until the server is started anew. A disk that is full or read-only is not marked.

This module must not know files, or how they are flushed.
"""

from __future__ import annotations

import errno
import os

from filexfer.errors import Code, FileError, RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

# These pass, and until then what is stored fails by itself.
_PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}


class Fault:
    """The mark of one folder."""

    def __init__(self) -> None:
        self._number = 0
        self._shared: mmap | None = None

    def share(self) -> None:
        """Before the workers are made: mark together with them from now on."""
        from mmap import mmap  # noqa: PLC0415 - 0.3 ms, for servers only

        self._shared = mmap(-1, 1)

    def note(self, error: OSError) -> FileError:
        """Note that a flush has failed, and return what to say of what it should have covered."""
        number = error.errno or errno.EIO
        if number in _PASSING:
            return FileError.from_os(error, "")
        self._number = number
        if self._shared is not None:
            self._shared[0] = min(number, 255)
        return FileError(Code.IO_ERROR, "", f"the disk failed to keep it ({os.strerror(number)})")

    def check(self) -> None:
        """Refuse to put anything to a disk that is marked.

        Raises:
            RefusedError: if it is.

        """
        number = self._shared[0] if self._shared is not None else self._number
        if number:
            raise RefusedError(
                Code.IO_ERROR,
                f"the disk failed to keep what was stored before ({os.strerror(number)}): "
                "nothing is stored until the server is started anew",
            )
