"""The files that an exchange only names, to be moved in pieces when it is over.

This module must not know how they move.
"""

from __future__ import annotations

from filexfer.entry import FILE, Entry
from filexfer.errors import Code, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.wire import ranged
    from filexfer.wire.protocol import Folder


class Laters:
    """What was named, at the receiver of one exchange.

    Args:
        least: The smallest size that may be named; with 0 all may, and none is kept here: the
            sender begins each by itself.

    Attributes:
        least: The same.
        files: By their names on the wire; the entries have the names here.
        folders: Time and mode of the folders that they lie in, by their names on the wire; to be
            set again at last. None where that is not known.

    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.files: dict[str, Entry] = {}
        self.folders: dict[str, tuple[int, int] | None] = {}

    def take(self, message: ranged.Later, name: str, folder: Entry | None) -> None:
        """Take in a file.

        Args:
            message: What was said of it.
            name: Its name here.
            folder: That it lies in, if that is still open; stays writable until all is over.

        Raises:
            ProtocolError: if it had to be sent.

        """
        if self.least:
            if message.size < self.least or message.name in self.files:
                raise ProtocolError("a file was only named that must be sent", Code.OUT_OF_ORDER)
            entry = Entry(name, FILE, message.size, message.mtime, message.mode)
            self.files[message.name] = entry
            above = message.name.rpartition("/")[0]
            self.folders[above] = (folder.mtime, folder.mode) if folder else self.folders.get(above)
        if folder:
            folder.mode |= 0o700

    def note_folder(self, message: Folder, entry: Entry) -> None:
        """Note time and mode of a folder that is named again, if one of the files lies in it."""
        if message.name in self.folders:
            self.folders[message.name] = (entry.mtime, entry.mode)
            entry.mode |= 0o700

    def parts(self) -> tuple[list[tuple[str, str, int, int, int]], list[tuple[str, int, int]]]:
        """Return files and folders as plain values, to travel between processes."""
        files = [(key, e.name, e.size, e.mtime, e.mode) for key, e in self.files.items()]
        return files, [(name, *known) for name, known in self.folders.items() if known]
