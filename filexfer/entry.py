"""One file, folder or link as a listing or a question names it.

This module must not know where entries come from or go to.
"""

from __future__ import annotations

from enum import Enum

FILE = "file"
FOLDER = "folder"
LINK = "link"
SPECIAL = "special"  # pipes, sockets, devices: named in listings, never transferred
TYPES = (FILE, FOLDER, LINK, SPECIAL)


class Extent(Enum):
    """How much of what lies in a folder a walk is to yield."""

    ALL = "all"
    FOLDERS = "folders"  # and what lies in them
    NOTHING = "nothing"


class Entry:
    """What is known of a name without opening it.

    Args:
        name: Components joined by ``/``, relative to the root in question.
        type: ``file``, ``folder``, ``link`` or ``special``.
        size: Bytes; 0 for anything but a file.
        mtime: Modification time, nanoseconds since 1970.
        mode: Permission bits.
        extra: A link's target; a file's digest (``algorithm:hex``) where one was asked for.

    """

    __slots__ = ("extra", "mode", "mtime", "name", "size", "type")

    def __init__(
        self,
        name: str,
        type: str,  # noqa: A002 - the word of the wire
        size: int = 0,
        mtime: int = 0,
        mode: int = 0o644,
        extra: str = "",
    ) -> None:
        self.name = name
        self.type = type
        self.size = size
        self.mtime = mtime
        self.mode = mode
        self.extra = extra

    @property
    def digest(self) -> str:
        """A file's digest, if it is known, else empty."""
        return self.extra if self.type == FILE else ""

    def __repr__(self) -> str:
        return f"Entry({', '.join(repr(getattr(self, slot)) for slot in FIELDS)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and all(
            getattr(self, slot) == getattr(other, slot) for slot in FIELDS
        )

    __hash__ = None  # type: ignore[assignment] # mutable


FIELDS = ("name", "type", "size", "mtime", "mode", "extra")


def same_time(one: int, other: int) -> bool:
    """Tell whether two modification times are equal at the coarser one's resolution.

    A file system keeps nanoseconds, microseconds, milliseconds or seconds; a time that is a whole
    multiple of one of these may have been cut there. (FAT keeps even seconds; that is not
    guessed from a time, since every second whole second is one. Digests settle it.)
    """
    if one == other:
        return True
    for step in (1_000, 1_000_000, 1_000_000_000):
        if (one % step == 0 or other % step == 0) and one // step == other // step:
            return True
    return False


def entry_of_file(name: str, size: int, mtime: int, mode: int, digest: str = "") -> Entry:
    """Return the entry of a file."""
    return Entry(name, FILE, size, mtime, mode, digest)


def entry_of_link(name: str, target: str, mtime: int) -> Entry:
    """Return the entry of a symbolic link."""
    return Entry(name, LINK, 0, mtime, 0o777, target)
