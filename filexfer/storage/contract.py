"""What senders and receivers use of a storage: the promises, as types.

There are two of each kind so far: a local folder, and a stream such as standard input. Another
storage has to keep these promises and nothing else. This module is read by people and type
checkers; nothing loads it at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.entry import Entry, Extent
    from filexfer.errors import FileError
    from filexfer.hashing import Hash
    from filexfer.storage.policy import Decision, Policy
    from filexfer.storage.staged import Result


class OpenFile(Protocol):
    """An open file that is read in pieces."""

    entry: Entry
    sparse: bool

    @property
    def size(self) -> int | None:
        """Bytes, or None if that is not known before the end."""

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes; 0 at the end."""

    def read_at(self, view: memoryview, offset: int) -> None:
        """Fill *view* with the bytes from *offset* on; FileError if that cannot be."""

    def hole(self, most: int) -> int:
        """Skip a hole, if there is one here, and return its size in bytes."""

    def until_hole(self, most: int) -> int:
        """Return how many bytes come before the next hole, at most *most*."""

    def check_unchanged(self) -> None:
        """Raise FileError if what was read is not of one moment."""

    def close(self) -> None:
        """Close it."""


class Reader(Protocol):
    """Access to files for one sender, in one thread."""

    @property
    def newest(self) -> int:
        """When what was looked at by name was changed last, in nanoseconds."""

    def walk(
        self,
        name: str,
        report: Callable[[FileError], object],
        *,
        recursive: bool = True,
        extent: Callable[[str], Extent] = ...,
    ) -> Iterator[Entry]:
        """Yield *name* and all below it, a folder before what is in it."""

    def stat(self, name: str) -> Entry:
        """Return what *name* is; FileError if there is nothing."""

    def has_folders(self, name: str) -> bool:
        """Tell whether other folders lie in the folder *name*; not if it cannot be read."""

    def has_many(self, name: str, least: int) -> bool:
        """Tell whether at least *least* files lie below; False if that takes looking at them."""

    def read(self, entry: Entry, limit: int) -> bytes | None:
        """Return a small file's bytes, all of one moment, or None if it is larger than *limit*."""

    def large(self, entry: Entry) -> OpenFile:
        """Open a file to be read in pieces."""

    def digest(
        self,
        name: str,
        algorithm: str,
        tick: Callable[[], object],
        new: Callable[[str], Hash] = ...,
    ) -> str:
        """Return a file's digest, by a hash from *new*; *tick* is called now and then."""

    def close(self) -> None:
        """Let go of what is open."""


class Readable(Protocol):
    """A storage that can be read."""

    def reading(self) -> Reader:
        """Return access for one sender."""


class Item(Protocol):
    """Something complete and verified that waits to be published."""

    number: int
    entry: Entry

    def publish(self) -> Result:
        """Let it take its place; what remains is ``release``."""

    def discard(self) -> None:
        """Remove it; it is used up."""

    def place(self) -> tuple[object, int] | None:
        """Return the folder it lies in, kept open until ``release``, and its descriptor."""

    def release(self) -> None:
        """Let go of the folder; it is used up."""


class Writer(Protocol):
    """A file being written; it ends with ``finish`` as an item or with ``discard`` as nothing."""

    def write(self, data: memoryview) -> None:
        """Append bytes; FileError if the disk does not take them."""

    def skip(self, size: int) -> None:
        """Append *size* zero bytes as a hole."""

    def finish(self, entry: Entry) -> Item:
        """Set its time, close it, and return it ready to be published."""

    def discard(self) -> None:
        """Remove what was written."""


class Target(Protocol):
    """Where one receiver puts files, in one thread."""

    durability: str
    policy: Policy
    found_identical: bool  # what was there counts as done, and may not be durable yet

    @property
    def folders_opened(self) -> int:
        """How many folders were opened so far; each may stay open until a group is settled."""

    def find(self, name: str) -> Entry | None:
        """Return what has the name now."""

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say what would happen to *offered*, without doing it."""

    def small(self, entry: Entry, data: memoryview) -> Item:
        """Write a file whose bytes are at hand and verified."""

    def begin(self, entry: Entry) -> Writer:
        """Begin a file."""

    def link(self, entry: Entry) -> Item:
        """Make a symbolic link."""

    def make_folder(self, entry: Entry, *, is_shared: bool = False) -> Item:
        """Make a folder; what is returned sets its mode and time at last."""

    def seal(self) -> None:
        """Note that a group is closed: what comes now must not appear together with it."""

    def flush_failed(self, error: OSError) -> FileError:
        """Note that the disk lost something; return what to say of what the flush was for."""

    def place(self) -> tuple[object, int] | None:
        """Return the folder of it all, kept open, and its descriptor."""
