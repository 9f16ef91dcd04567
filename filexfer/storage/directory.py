"""One open folder: hidden, claimed and swept; and what is removed from it.

This module must not know how folders are reached, or what is read or written in them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager

from filexfer import names
from filexfer.storage import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITING = 0o300  # what its owner needs to change what is in a folder
_CLAIM_TRIES = 50
_CLAIM_PAUSE = 0.02  # seconds
_TWO_NAMES = 2  # links of a file


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
            fd = lies_in.fd if lies_in.hidden_fd < 0 else lies_in.hidden_fd
            try:
                with time_kept(fd):
                    os.rmdir(self._temporary, dir_fd=fd)
            except OSError:
                pass  # the next sweep finds it
            lies_in.users -= 1
        for each in (self.fd, self.hidden_fd) if self.hidden_fd >= 0 else (self.fd,):
            try:
                os.close(each)
            except OSError:
                pass  # the disk fails; nothing was written by it

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
        if removed < len(left):
            removed += self._remove_second_names()
        fcntl.flock(self.fd, fcntl.LOCK_SH if self.claimed else fcntl.LOCK_UN)
        return removed

    def _remove_leftover(self, name: str) -> bool:
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            is_ours = status.st_uid == os.geteuid()
            is_alone = _is_file(status) and status.st_nlink == 1
            if is_ours and (stat.S_ISDIR(status.st_mode) or is_alone):
                remove(self.fd, name, recursive=True)
                return True
        except OSError:
            pass  # gone, or not ours to remove; it stays hidden
        return False

    def _remove_second_names(self) -> int:
        """Remove the temporary names of files that have got their own in here; return how many.

        Where nothing renames without replacing, a file has both names for a moment (see
        ``system.rename_exclusive``), and keeps them if its process is killed then.
        """
        temporary: dict[tuple[int, int], str] = {}
        own: set[tuple[int, int]] = set()
        try:
            for name in os.listdir(self.fd):
                status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                if _is_file(status) and status.st_nlink == _TWO_NAMES:
                    if names.is_reserved(name):
                        temporary[status.st_dev, status.st_ino] = name
                    else:
                        own.add((status.st_dev, status.st_ino))
            for key in own & temporary.keys():
                os.unlink(temporary[key], dir_fd=self.fd)
        except OSError:
            return 0  # gone, or not ours to remove; the next sweep looks again
        return len(own & temporary.keys())


@contextmanager
def time_kept(folder: int) -> Iterator[None]:
    """Give a folder the time back that it has now: what is removed from it was never seen."""
    try:
        before = os.fstat(folder)
    except OSError:  # it is closed
        yield
        return
    try:
        yield
    finally:
        try:
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
        except OSError:
            pass  # the folder is somebody else's, and so is its time


def remove_temporary(folder: int, part: str) -> None:
    """Remove a temporary file, also from a folder that has become read-only meanwhile.

    Raises:
        OSError: as the system says.

    """
    try:
        os.unlink(part, dir_fd=folder)
    except PermissionError:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        if mode & _WRITING == _WRITING:
            raise
        os.fchmod(folder, mode | _WRITING)
        try:
            os.unlink(part, dir_fd=folder)
        finally:
            os.fchmod(folder, mode)


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
    try:
        os.rmdir(part, dir_fd=folder)
    except OSError as error:
        if recursive or error.errno != errno.ENOTEMPTY or not _sweep(folder, part):
            raise
        os.rmdir(part, dir_fd=folder)


def _sweep(folder: int, part: str) -> int:
    """Remove what dead processes left in the folder *part*; return how many."""
    swept = Directory("", os.open(part, FLAGS, dir_fd=folder), made=False)
    try:
        return swept.sweep()
    finally:
        swept.close()


def _is_file(status: os.stat_result) -> bool:
    """Tell whether it is something that we make under a temporary name, and no folder."""
    return stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
