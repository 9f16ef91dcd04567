"""Standard input and output, and other byte streams, in the place of a folder with one file.

A stream has no name, no known size and no second try. What goes to a stream cannot be taken back:
a small file is verified before its first byte goes out, of a large one only the end can tell.

This module must not know the network.
"""

from __future__ import annotations

import os
from time import time_ns

from filexfer import hashing
from filexfer.entry import FILE, Entry, Extent
from filexfer.errors import Code, FileError
from filexfer.storage.policy import Choice, Decision, Policy
from filexfer.storage.staged import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.hashing import Hash


class StreamSource:
    """A stream to be sent; its own reader and its own file.

    Args:
        fd: Descriptor to read from; stays the caller's.

    Attributes:
        was_read: Whether anything was read, so that there is no second try.

    """

    size: int | None = None
    sparse = False
    newest = 0

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.was_read = False
        self.entry = Entry("", FILE, 0, time_ns(), 0o666)

    def reading(self) -> StreamSource:
        """Return itself."""
        return self

    def walk(
        self,
        name: str,
        report: Callable[[FileError], object],
        *,
        recursive: bool = True,
        extent: Callable[[str], Extent] = lambda _: Extent.ALL,
    ) -> Iterator[Entry]:
        """Yield the one file."""
        del name, report, recursive, extent
        yield self.entry

    def stat(self, name: str) -> Entry:
        """Return the one file."""
        del name
        return self.entry

    def has_folders(self, name: str) -> bool:
        """Return False: a stream is no folder."""
        del name
        return False

    def has_many(self, name: str, least: int) -> bool:
        """Return False: a stream is one."""
        del name, least
        return False

    def read(self, entry: Entry, limit: int) -> bytes | None:
        """Return None: a stream is never small."""
        del entry, limit
        return None

    def large(self, entry: Entry) -> StreamSource:
        """Return itself."""
        del entry
        return self

    def digest(
        self,
        name: str,
        algorithm: str,
        tick: Callable[[], object],
        new: Callable[[str], Hash] = hashing.new,
    ) -> str:
        """Refuse: a stream cannot be read twice."""
        del algorithm, tick, new
        raise FileError(Code.UNREADABLE, name, "standard input cannot be read twice")

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes; 0 at the end.

        Raises:
            FileError: if the stream fails.

        """
        self.was_read = True
        try:
            got = os.readv(self._fd, [view])
        except OSError as error:
            raise FileError(Code.UNREADABLE, "-", error.strerror or str(error)) from error
        self.entry.size += got
        return got

    def read_at(self, view: memoryview, offset: int) -> None:
        """Refuse: a stream is read in its order only."""
        del view, offset
        raise FileError(Code.UNREADABLE, "-", "standard input cannot be read in pieces")

    def hole(self, most: int) -> int:
        """Return 0: a stream has no holes."""
        del most
        return 0

    def until_hole(self, most: int) -> int:
        """Return *most*: a stream has no holes."""
        return most

    def check_unchanged(self) -> None:
        """Do nothing: what was read is what there was."""

    def close(self) -> None:
        """Do nothing: the descriptor is the caller's."""


class StreamTarget:
    """A stream that one file is received into, in the place of a staging.

    Args:
        fd: Descriptor to write to; stays the caller's.
        name: The one file that may come.

    Attributes:
        was_written: Whether anything went out, so that there is no second try.
        failure: Why the stream took no more, if it did not.

    """

    durability = "none"
    folders_opened = 0
    found_identical = False

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self.was_written = False
        self.failure: FileError | None = None
        self.policy = Policy()

    def find(self, name: str) -> Entry | None:
        """Return None: a stream holds nothing."""
        del name
        return None

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say that it is wanted."""
        del offered, tick
        return Decision(Choice.TAKE)

    def small(self, entry: Entry, data: bytes | memoryview) -> StreamedFile:
        """Write verified bytes."""
        self._check(entry)
        self.write(data)
        return StreamedFile(entry)

    def begin(self, entry: Entry) -> StreamTarget:
        """Return itself, to be written to."""
        self._check(entry)
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Write bytes.

        Raises:
            FileError: if the stream does not take them.

        """
        self.was_written = True
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self.failure = FileError.from_os(error, "-")
            raise self.failure from error

    def skip(self, size: int) -> None:
        """Write *size* zero bytes."""
        zeros = bytes(min(size, 1 << 20))
        while size:
            self.write(zeros[: min(size, len(zeros))])
            size -= min(size, len(zeros))

    def finish(self, entry: Entry) -> StreamedFile:
        """Return the file, which is all written."""
        return StreamedFile(entry)

    def discard(self) -> None:
        """Do nothing: what is written cannot be taken back."""

    def seal(self) -> None:
        """Do nothing: nothing is hidden in a stream."""

    def flush_failed(self, error: OSError) -> FileError:
        """Return what to say; a stream is never flushed."""
        return FileError.from_os(error, "-")

    def place(self) -> None:
        """Return None: there is no folder."""

    def link(self, entry: Entry) -> StreamedFile:
        """Refuse: only a file can go to a stream."""
        raise FileError(Code.NOT_REGULAR, entry.name, "only a file can go to standard output")

    def make_folder(self, entry: Entry, *, is_shared: bool = False) -> StreamedFile:
        """Refuse: only a file can go to a stream."""
        del is_shared
        return self.link(entry)

    def _check(self, entry: Entry) -> None:
        """Refuse what lies in a folder that was asked for by mistake."""
        if entry.name != self._name:
            raise FileError(Code.NOT_REGULAR, entry.name, "only one file can go to a stream")


class StreamedFile:
    """A file that is all written to a stream."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.number = 0

    def publish(self) -> Result:
        """Say that it is there."""
        return Result(Choice.TAKE)

    def discard(self) -> None:
        """Do nothing: what is written cannot be taken back."""

    def place(self) -> None:
        """Return None: there is no folder."""

    def release(self) -> None:
        """Do nothing: there is no folder."""
