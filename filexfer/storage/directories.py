"""Open folders below a root, each reached component by component and kept for a while.

No path is ever resolved by the system as a whole: every component is opened from its parent's
descriptor and never through a symbolic link, so that nobody who moves folders and links about
meanwhile can lead us out of the root.

This module must not know what is read or written in the folders.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections import OrderedDict

from filexfer import names
from filexfer.errors import Code, FileError
from filexfer.storage import system

OPEN_MAX = 64  # unused folders kept open
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CLAIM_TRIES = 50
_CLAIM_PAUSE = 0.02  # seconds


class Directory:
    """An open folder.

    Attributes:
        fd: Its descriptor.
        users: How many still need it open.
        made: Whether this exchange made it, so that nothing of others is in it.

    """

    __slots__ = ("claimed", "fd", "made", "name", "users")

    def __init__(self, name: str, fd: int, *, made: bool) -> None:
        self.name = name
        self.fd = fd
        self.made = made
        self.users = 0
        self.claimed = False

    def claim(self) -> None:
        """Tell other processes that living temporary files are in here, until it is closed.

        The claim is a shared lock on the folder itself. Where the system has no such locks
        (some network file systems), leftovers there are never cleaned, so none is needed.
        """
        self.claimed = True
        for _ in range(_CLAIM_TRIES):  # somebody may be cleaning just now
            try:
                fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_CLAIM_PAUSE)
            except OSError:
                return
            else:
                return

    def sweep(self) -> int:
        """Remove the temporary files that no living process has a claim on; return how many."""
        left = [name for name in os.listdir(self.fd) if names.is_reserved(name)]
        if not left:
            return 0
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody lives, or there are no locks
            return 0
        removed = sum(self._remove_leftover(name) for name in left)
        fcntl.flock(self.fd, fcntl.LOCK_SH if self.claimed else fcntl.LOCK_UN)
        return removed

    def _remove_leftover(self, name: str) -> bool:
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            own = status.st_uid == os.geteuid() and status.st_nlink == 1
            if own and (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                os.unlink(name, dir_fd=self.fd)
                return True
        except OSError:
            pass  # gone, or not ours to remove; it stays hidden
        return False


class Directories:
    """The open folders of one exchange; not for several threads.

    Args:
        root: Descriptor of the root; stays the caller's.
        making: Whether folders that are missing are made.
        durable: Whether a folder that was made is flushed at once.

    """

    def __init__(self, root: int, *, making: bool = False, durable: bool = False) -> None:
        self._root = root
        self._making = making
        self._durable = durable
        self._open: OrderedDict[str, Directory] = OrderedDict()

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, name: str) -> Directory:
        """Return the folder *name*, open.

        Raises:
            FileError: if the name is bad, or it is no folder, or is missing and not to be made.

        """
        found = self._open.get(name)
        if found is not None:
            return found
        if len(self._open) >= OPEN_MAX:
            self._close_unused()
        if name:
            made = self._descend(name)
        else:
            made = Directory("", os.open(".", _FLAGS, dir_fd=self._root), made=False)
        self._open[name] = made
        return made

    def make(self, name: str, mode: int) -> Directory:
        """Return the folder *name*, open, made with *mode* (less the umask) if it was missing.

        Raises:
            FileError: as ``get`` does.

        """
        if name and name not in self._open:
            above, part = locate(name)
            parent = self.get(above)
            try:
                made = self._make(parent, part, mode)
            except OSError as error:
                raise FileError.from_os(error, name) from error
            except UnicodeEncodeError:
                raise FileError(Code.BAD_NAME, name, "this system cannot write the name") from None
            if made:
                parent.users += 1
                folder = self.get(name)
                parent.users -= 1
                folder.made = True
                return folder
        return self.get(name)

    def forget(self, name: str) -> None:
        """Close the folder *name*, if it is open and unused."""
        found = self._open.get(name)
        if found is not None and not found.users:
            del self._open[name]
            os.close(found.fd)

    def close(self) -> None:
        """Close all folders."""
        for folder in self._open.values():
            os.close(folder.fd)
        self._open.clear()

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
            fd = os.open(part, _FLAGS, dir_fd=parent.fd)
        except FileNotFoundError:
            if not self._making:
                raise
            made = self._make(parent, part)
            fd = os.open(part, _FLAGS, dir_fd=parent.fd)
        return Directory(name, fd, made=made)

    def _make(self, parent: Directory, part: str, mode: int = 0o777) -> bool:
        try:
            os.mkdir(part, mode, dir_fd=parent.fd)
        except FileExistsError:
            return False
        if self._durable:
            system.flush_descriptor(parent.fd)
        return True

    def _close_unused(self) -> None:
        for name in [name for name, folder in self._open.items() if not folder.users]:
            os.close(self._open.pop(name).fd)


def locate(name: str) -> tuple[str, str]:
    """Return the folder part and the checked last component of *name*, which is not the root.

    Raises:
        FileError: if the name may not be used.

    """
    try:
        return names.locate(name)
    except names.BadName as error:
        raise FileError(Code.BAD_NAME, name, str(error)) from None
