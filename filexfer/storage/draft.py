"""A file that is being written under a temporary name.

This module must not know where the bytes come from, or when the file is published.
"""

from __future__ import annotations

import os

from filexfer.errors import Code, FileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from filexfer.entry import Entry
    from filexfer.storage.folder import Folder
    from filexfer.storage.room import Room
    from filexfer.storage.staged import Staged

    class Staging(Protocol):
        """What a draft needs of the staging that it comes in by."""

        @property
        def folder(self) -> Folder:
            """Where everything goes."""

        @property
        def room(self) -> Room:
            """What may still be stored."""

        @property
        def flushes(self) -> bool:
            """Whether each file is made durable by itself."""

        def flush(self, descriptor: int) -> None:
            """Make one file durable."""


class Draft:
    """A file being written.

    It ends with ``finish`` as a verified temporary file, or with ``discard`` as nothing.

    Attributes:
        fd: Its descriptor, to write to.
        staged: What it will be when it is finished.

    """

    __slots__ = ("_at", "_holes", "_reserved", "_staging", "fd", "staged")

    def __init__(self, staging: Staging, staged: Staged, fd: int, reserved: int) -> None:
        self._staging = staging
        self.staged = staged
        self.fd = fd
        self._reserved = reserved
        self._at = 0
        self._holes = False

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*.

        Raises:
            FileError: if the disk does not take it.

        """
        size = len(data)
        name, promised = self.staged.entry.name, self._reserved > 0
        self._staging.room.spend(self.staged.folder.fd, name, self._at, size, promised)
        try:
            done = os.write(self.fd, data)
            while done < size:
                done += os.write(self.fd, data[done:])
        except OSError as error:
            raise FileError.from_os(error, self.staged.entry.name) from error
        self._at += size
        if self._reserved:
            self._give_back(min(size, self._reserved))

    def skip(self, size: int) -> None:
        """Append *size* zero bytes as a hole."""
        self._staging.room.check_size(self.staged.entry.name, self._at + size)
        try:
            self._at = os.lseek(self.fd, size, os.SEEK_CUR)
        except OSError as error:
            raise FileError.from_os(error, self.staged.entry.name) from error
        self._holes = True

    def finish(self, entry: Entry) -> Staged:
        """Set the time, close, and return it ready to be published.

        Raises:
            FileError: if that fails; nothing of it is left.

        """
        fd = self.fd
        try:
            if self._holes:
                os.ftruncate(fd, self._at)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
            if self._staging.flushes:
                self._staging.flush(fd)
            self.fd = -1
            os.close(fd)
        except (OSError, OverflowError) as error:
            self.discard()
            if isinstance(error, OverflowError):
                raise FileError(Code.IO_ERROR, entry.name, "its time is out of range") from None
            raise FileError.from_os(error, entry.name) from error
        self._give_back(self._reserved)
        return self.staged

    def discard(self) -> None:
        """Remove what was written."""
        if self.fd >= 0:
            try:
                os.close(self.fd)
            except OSError:
                pass  # its bytes are not wanted
            self.fd = -1
        self._give_back(self._reserved)
        self.staged.discard()

    def reserve_at_most(self, size: int) -> None:
        """Give back what is promised beyond *size* bytes; others write the file."""
        self._give_back(max(0, self._reserved - size))

    def _give_back(self, size: int) -> None:
        if size:
            self._reserved -= size
            self._staging.folder.reservations.add(-size)
