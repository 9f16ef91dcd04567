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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_MAX = 64  # unused folders kept open, at most
FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CLAIM_TRIES = 50
_CLAIM_PAUSE = 0.02  # seconds


class Directory:
    """An open folder.

    A folder that this exchange made may be hidden for a while: it lies under a temporary name, so
    that small files can be written in it under their own names at once, and appear all together
    when it is revealed. If somebody else made a folder of its name meanwhile, the two are merged:
    then what was written goes over to the other folder one by one.

    Attributes:
        fd: Its descriptor.
        users: How many still need it open.
        made: Whether this exchange made it, so that nothing of others is in it.
        direct: Whether small files are written under their own names now.
        hidden_fd: After a merge, the descriptor of the folder that was hidden, else -1.
        hidden_in: While nobody else can see it, the folder that it lies in.

    """

    __slots__ = (
        "_left_in",
        "_part",
        "_temporary",
        "claimed",
        "direct",
        "fd",
        "hidden_fd",
        "hidden_in",
        "made",
        "name",
        "users",
    )

    def __init__(self, name: str, fd: int, *, made: bool) -> None:
        self.name = name
        self.fd = fd
        self.made = made
        self.users = 0
        self.claimed = False
        self.direct = False
        self.hidden_fd = -1
        self.hidden_in: Directory | None = None
        self._left_in: Directory | None = None  # after a merge, what the hidden one lies in
        self._temporary = self._part = ""

    def hide(self, above: Directory, temporary: str, part: str) -> None:
        """Note that it lies in *above* as *temporary* and shall be called *part*."""
        above.users += 1
        self.hidden_in, self._temporary, self._part = above, temporary, part

    def reveal(self) -> None:
        """Let it take its place, and all it lies in before it.

        Raises:
            OSError: if that fails; what is in it stays hidden.

        """
        above = self.hidden_in
        if above is None:
            return
        above.reveal()
        self.direct = False
        lies_in = above.fd if above.hidden_fd < 0 else above.hidden_fd
        if lies_in != above.fd or self._temporary != self._part:
            try:
                system.rename_exclusive(lies_in, self._temporary, self._part, above.fd)
            except FileExistsError:
                fd = os.open(self._part, FLAGS, dir_fd=above.fd)
                self.hidden_fd, self.fd = self.fd, fd
                self.made = False
                self.claim()  # what comes over has temporary names there
                self._left_in = above  # needed until the hidden one is removed
                above.users += 1
        self.hidden_in = None
        above.users -= 1

    def close(self) -> None:
        """Close it; what is still hidden is removed, if nothing is left in it."""
        lies_in = self.hidden_in or self._left_in
        if lies_in is not None:
            try:
                fd = lies_in.fd if lies_in.hidden_fd < 0 else lies_in.hidden_fd
                os.rmdir(self._temporary, dir_fd=fd)
            except OSError:
                pass  # the next sweep finds it
            lies_in.users -= 1
        for each in (self.fd, self.hidden_fd):
            try:
                os.close(each)
            except OSError:
                pass  # there is none, or the disk fails; nothing was written by it

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
        try:
            left = [name for name in os.listdir(self.fd) if names.is_reserved(name)]
            if not left:
                return 0
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody lives, or there are no locks, or the disk fails
            return 0
        removed = sum(self._remove_leftover(name) for name in left)
        fcntl.flock(self.fd, fcntl.LOCK_SH if self.claimed else fcntl.LOCK_UN)
        return removed

    def _remove_leftover(self, name: str) -> bool:
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            is_folder = stat.S_ISDIR(status.st_mode)
            is_file = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
            if status.st_uid == os.geteuid() and (is_folder or (is_file and status.st_nlink == 1)):
                remove(self.fd, name, recursive=True)
                return True
        except OSError:
            pass  # gone, or not ours to remove; it stays hidden
        return False


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
        self._open_max = system.share_of_descriptors(OPEN_MAX)
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
        if len(self._open) < self._open_max:
            return
        for name in [name for name, folder in self._open.items() if not folder.users]:
            self._open.pop(name).close()


def locate(name: str) -> tuple[str, str]:
    """Return the folder part and the checked last component of *name*, which is not the root.

    Raises:
        FileError: if the name may not be used.

    """
    try:
        return names.locate(name)
    except names.BadName as error:
        raise FileError(Code.BAD_NAME, name, str(error)) from None


def remove(folder: int, part: str, *, recursive: bool) -> None:
    """Remove what is called *part* in an open folder, with *recursive* also a full folder.

    Raises:
        OSError: as the system says.

    """
    status = os.stat(part, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(part, dir_fd=folder)
        return
    if recursive:
        fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            for each in os.listdir(fd):
                remove(fd, each, recursive=True)
        finally:
            os.close(fd)
    os.rmdir(part, dir_fd=folder)
