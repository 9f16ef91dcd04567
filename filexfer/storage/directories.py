"""Open folders below a root, each reached component by component and kept for a while.

No path is ever resolved by the system as a whole: every component is opened from its parent's
descriptor and never through a symbolic link, so that nobody who moves folders and links about
meanwhile can lead us out of the root.

This module must not know what is read or written in the folders.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from filexfer import names
from filexfer.errors import Code, FileError
from filexfer.storage import system
from filexfer.storage.directory import FLAGS, Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_MAX = 64  # unused folders kept open, at most


class Directories:
    """The open folders of one exchange; not for several threads.

    Args:
        root: Descriptor of the root; stays the caller's.
        making: Whether folders that are missing are made.
        flush: Is called with the descriptor of a folder in which another was made, if at all.

    """

    def __init__(
        self, root: int, *, making: bool = False, flush: Callable[[int], object] | None = None
    ) -> None:
        self._root = root
        self._making = making
        self._flush = flush
        self._open_max = self._full = system.share_of_descriptors(OPEN_MAX)
        self.opened = 0  # folders, so far
        self._open: OrderedDict[str, Directory] = OrderedDict()

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._open)

    def known(self, name: str) -> Directory | None:
        """Return the folder *name* if it is open."""
        return self._open.get(name)

    def get(self, name: str) -> Directory:
        """Return the folder *name*, open.

        Raises:
            FileError: if the name is bad, or it is no folder, or is missing and not to be made.

        """
        found = self._open.get(name)
        if found is not None:
            return found
        self._make_room()
        made = self._descend(name) if name else self._top()
        self._open[name] = made
        self.opened += 1
        return made

    def make(self, name: str, mode: int, temporary: str = "") -> Directory:
        """Return the folder *name*, open, made with *mode* (less the umask) if it was missing.

        Args:
            name: Its name.
            mode: Permission bits.
            temporary: If given, a folder that was missing is hidden under this name.

        Raises:
            FileError: as ``get`` does.

        """
        if not name or name in self._open:
            return self.get(name)
        above, part = locate(name)
        parent = self.get(above)
        parent.users += 1
        self._make_room()
        try:
            return self._made_in(parent, name, part, mode, temporary)
        except OSError as error:
            raise FileError.from_os(error, name) from error
        except UnicodeEncodeError:
            raise FileError(Code.BAD_NAME, name, "this system cannot write the name") from None
        finally:
            parent.users -= 1

    def close(self) -> None:
        """Close all folders."""
        for folder in reversed(self._open.values()):  # what is in a folder before the folder
            folder.close()
        self._open.clear()

    def _made_in(
        self, parent: Directory, name: str, part: str, mode: int, temporary: str
    ) -> Directory:
        if parent.direct:
            temporary = part  # hidden with what it lies in
        elif temporary and not parent.made and system.exists(part, parent.fd):
            return self.get(name)
        if not self._make(parent, temporary or part, mode):
            return self.get(name)
        fd = os.open(temporary or part, FLAGS, dir_fd=parent.fd)
        folder = Directory(name, fd, made=True)
        if temporary or parent.hidden_in:
            folder.hide(parent, temporary or part, part)
            folder.direct = bool(temporary)
        self._open[name] = folder
        self.opened += 1
        return folder

    def _top(self) -> Directory:
        try:
            return Directory("", os.open(".", FLAGS, dir_fd=self._root), made=False)
        except OSError as error:
            raise FileError.from_os(error, "") from error

    def _descend(self, name: str) -> Directory:
        above, part = locate(name)
        parent = self.get(above)
        parent.users += 1  # opening others must not close it
        try:
            return self._enter(parent, name, part)
        except UnicodeEncodeError:
            raise FileError(Code.BAD_NAME, name, "this system cannot write the name") from None
        except NotADirectoryError:
            raise FileError(
                Code.NOT_A_FOLDER, name, "is not a folder (links are not followed)"
            ) from None
        except OSError as error:
            raise FileError.from_os(error, name) from error
        finally:
            parent.users -= 1

    def _enter(self, parent: Directory, name: str, part: str) -> Directory:
        made = False
        if parent.made:  # then it can hardly be there: try to make it first
            made = self._make(parent, part)
        try:
            fd = os.open(part, FLAGS, dir_fd=parent.fd)
        except FileNotFoundError:
            if not self._making:
                raise
            made = self._make(parent, part)
            fd = os.open(part, FLAGS, dir_fd=parent.fd)
        folder = Directory(name, fd, made=made)
        if parent.hidden_in:
            folder.hide(parent, part, part)
        return folder

    def _make(self, parent: Directory, part: str, mode: int = 0o777) -> bool:
        try:
            os.mkdir(part, mode, dir_fd=parent.fd)
        except FileExistsError:
            return False
        if self._flush:
            self._flush(parent.fd)
        return True

    def _make_room(self) -> None:
        if len(self._open) < self._full:
            return
        for name in [name for name, folder in self._open.items() if not folder.users]:
            self._open.pop(name).close()
        # Where most are needed, each new one would look through all of them in vain.
        self._full = max(self._open_max, len(self._open) + self._open_max // 4)


def locate(name: str) -> tuple[str, str]:
    """Return the folder part and the checked last component of *name*, which is not the root.

    Raises:
        FileError: if the name may not be used.

    """
    try:
        return names.locate(name)
    except names.BadName as error:
        raise FileError(Code.BAD_NAME, name, str(error)) from None
