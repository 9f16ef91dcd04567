"""A local folder as storage: its root held open, and the operations on one name at a time.

This module must not know the network; what a peer may do is decided above it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock  # the whole of threading takes 0.7 ms to load

from filexfer import names
from filexfer.entry import FOLDER, Entry
from filexfer.errors import Code, FileError, LocalError
from filexfer.storage import system
from filexfer.storage.directories import Directories
from filexfer.storage.directory import FLAGS, remove
from filexfer.storage.faults import Fault
from filexfer.storage.reading import Reading
from filexfer.storage.reservations import Reservations
from filexfer.storage.room import Bounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Folder:
    """A folder of the local disk, for any number of threads; a context manager.

    The root is opened once: what its path means later makes no difference.

    Args:
        path: The folder; links in this path are followed, links below it never are.
        make: Whether to make it, and its missing parents.
        fd: Its descriptor, if it is open already; from here on the Folder's.

    Raises:
        LocalError: if it is no folder or cannot be opened.

    """

    def __init__(
        self, path: str | os.PathLike[str] = ".", *, make: bool = False, fd: int = -1
    ) -> None:
        self.path = os.path.abspath(path)
        try:
            if make:
                os.makedirs(self.path, exist_ok=True)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self.fd = fd if fd >= 0 else os.open(self.path, flags)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            if isinstance(error, FileExistsError):
                reason = "it is not a folder"
            raise LocalError(f"cannot use the folder {names.shown(self.path)}: {reason}") from error
        self.reservations = Reservations()  # of the disk; what lies below shares them
        self.bounds = Bounds()  # the same
        self.fault = Fault()  # the same
        self._swept: set[tuple[int, int]] = set()
        self._lock = allocate_lock()  # guards _swept

    def below(self, name: str) -> Folder:
        """Return the folder *name* below this one as a root of its own; the caller closes it.

        It is made if it is missing. No link is followed on the way.

        Raises:
            FileError: if the name is bad, or it is no folder and cannot be made.

        """
        names_checked(name)
        with Directories(self.fd, making=True, flush=self.flush_folder) as folders:
            fd = os.open(".", FLAGS, dir_fd=folders.get(name).fd)
        made = Folder(os.path.join(self.path, name), fd=fd)
        made.reservations = self.reservations
        made.bounds = self.bounds
        made.fault = self.fault
        return made

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the root; harmless when closed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def share(self) -> None:
        """Before worker processes are made: let them count space and note faults together."""
        self.reservations.share()
        self.fault.share()

    def reading(self) -> Reading:
        """Return access for one exchange that sends."""
        return Reading(self.fd)

    def find(self, name: str) -> Entry | None:
        """Return what *name* is, or None if there is nothing.

        Raises:
            FileError: if the name is bad, or the disk refuses to say.

        """
        names_checked(name)
        with self.reading() as reading:
            try:
                return reading.stat(name)
            except FileError as error:
                if error.code == Code.NOT_FOUND:
                    return None
                raise

    def list(self, name: str, *, recursive: bool = False) -> Iterator[Entry]:
        """Yield what lies in the folder *name*, names relative to it; a file is its own listing.

        What cannot be read is left out.

        Raises:
            FileError: if nothing of that name is there, or the name is bad.

        """
        names_checked(name)
        with self.reading() as reading:
            found = reading.walk(name, lambda _: None, recursive=recursive)
            cut = len(name) + 1 if name else 0
            for entry in found:
                if entry.type == FOLDER and entry.name == name:
                    continue
                entry.name = entry.name[cut:] or entry.name.rpartition("/")[2]
                yield entry

    def digest(self, name: str, algorithm: str, tick: Callable[[], object]) -> str:
        """Return the digest of the file *name* as ``algorithm:hex``."""
        names_checked(name)
        with self.reading() as reading:
            return reading.digest(name, algorithm, tick)

    def make_folder(self, name: str) -> None:
        """Make the folder *name* and its missing parents; fine if it is there.

        Raises:
            FileError: if it cannot be made, or something else has the name.

        """
        names_checked(name)
        with Directories(self.fd, making=True, flush=self.flush_folder) as folders:
            folders.get(name)

    def remove(self, name: str, *, recursive: bool = False) -> None:
        """Remove a file, a link, an empty folder, or with *recursive* a folder and all in it.

        Raises:
            FileError: if there is nothing, or it cannot be removed.

        """
        names_checked(name)
        if not name:
            raise FileError(Code.DENIED, name, "the root cannot be removed")
        above, _, part = name.rpartition("/")
        with Directories(self.fd) as folders:
            try:
                remove(folders.get(above).fd, part, recursive=recursive)
            except OSError as error:
                raise FileError.from_os(error, name) from error
            except RecursionError:
                raise FileError(Code.IO_ERROR, name, "nests too deep to be removed") from None

    def flush(self, fd: int) -> None:
        """Make one file durable.

        Raises:
            OSError: if the disk failed, which is noted.

        """
        self._flush(system.flush_descriptor, fd)

    def flush_folder(self, fd: int) -> None:
        """Make the names in one folder durable.

        Raises:
            OSError: if the disk failed, which is noted.

        """
        self._flush(system.flush_folder, fd)

    def _flush(self, flush: Callable[[int], object], fd: int) -> None:
        try:
            flush(fd)
        except OSError as error:
            self.fault.note(error)
            raise

    def is_first_visit(self, fd: int) -> bool:
        """Tell whether the folder open as *fd* was not asked about before by this process."""
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino)
        with self._lock:
            if key in self._swept:
                return False
            self._swept.add(key)
            return True


def names_checked(name: str) -> None:
    """Check a name that came from a peer.

    Raises:
        FileError: if it may not be used.

    """
    try:
        names.split(name)
    except names.BadName as error:
        raise FileError(Code.BAD_NAME, name, str(error)) from None
