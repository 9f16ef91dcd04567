"""Gives a file, link or folder of an open root another name, in one step and through no link.

A new name is taken by a rename that refuses to replace. A file is replaced under the lock on the
one that has the name, as when it comes by an upload. Before a folder is moved to another depth it
is looked through: what a peer may not make it cannot make by moving either, neither names that are
too long nor links that lead out.

This module must not know who may move what, or the network.
"""

from __future__ import annotations

import errno
import os
import stat

from filexfer import names
from filexfer.entry import FOLDER
from filexfer.errors import Code, FileError
from filexfer.storage import system
from filexfer.storage.directories import Directories
from filexfer.storage.directory import FLAGS
from filexfer.storage.folder import names_checked
from filexfer.storage.staged import Locked, other_spelling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.storage.folder import Folder

_LEVELS_MAX = 256  # folders in folders; no peer can make as many
_TRIES = 100  # how often others may replace the target under our hands
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ITSELF = "a folder cannot be moved into itself"


class Move:
    """One move; for one use.

    Args:
        folder: The root that all names are relative to.
        name: What is moved.
        to: The name it shall have, or the folder it shall go into.
        into: Whether *to* is a folder also if it is missing.
        overwrite: Whether a file or link that has the name is replaced.
        durable: Whether it survives a power cut when ``run`` returns.
        tick: Is called now and then while a folder is looked through.

    Attributes:
        alone: Calls the rename, while nobody counts the bytes below the root.

    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        to: str,
        *,
        into: bool = False,
        overwrite: bool = False,
        durable: bool = True,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._to = to
        self._into = into
        self._overwrite = overwrite
        self._durable = durable
        self._tick = tick
        self.alone: Callable[[Callable[[], object]], object] = lambda act: act()
        self._from_fd = self._to_fd = -1
        self._part = self._new_part = ""  # the last components of both names

    def run(self) -> str:
        """Move it, and return the name that it has now.

        Raises:
            FileError: if it cannot be moved; it has its old name then, unless the error says else.

        """
        names_checked(self._name)
        names_checked(self._to)
        if not self._name:
            raise FileError(Code.DENIED, "", "the root cannot be moved")
        folder = self._folder
        above, _, self._part = self._name.rpartition("/")
        with (
            Directories(folder.fd) as there,
            Directories(folder.fd, making=True, flush=folder.flush_folder) as made,
        ):
            self._from_fd = there.get(above).fd
            status = self._look()
            self._to = self._landing()
            new_above, _, self._new_part = self._to.rpartition("/")
            try:
                self._check(status)
                self._to_fd = made.get(new_above).fd
                if self._durable and stat.S_ISREG(status.st_mode):
                    self._flush_contents()
                self._take()
            except OSError as error:
                raise self._failure(error) from error
            except UnicodeEncodeError:
                text = "this system cannot write the name"
                raise FileError(Code.BAD_NAME, self._to, text) from None
            if self._durable:
                self._flush_names()
        return self._to

    def _look(self) -> os.stat_result:
        """Return what is to be moved."""
        try:
            return os.stat(self._part, dir_fd=self._from_fd, follow_symlinks=False)
        except OSError as error:
            raise FileError.from_os(error, self._name) from error
        except UnicodeEncodeError:
            raise FileError(Code.NOT_FOUND, self._name, "no such file or folder") from None

    def _landing(self) -> str:
        """Return the name it shall have."""
        found = None if self._into else self._folder.find(self._to)
        if not self._into and not (found and found.type == FOLDER):
            return self._to
        landing = names.join(self._to, self._part)
        names_checked(landing)
        return landing

    # Whether it may be

    def _check(self, status: os.stat_result) -> None:
        """Refuse what makes no sense, or what an upload could not make either."""
        name, to = self._name, self._to
        if name == to:
            raise FileError(Code.EXISTS, name, "has that name already")
        if stat.S_ISLNK(status.st_mode):
            self._check_link(to, os.readlink(self._part, dir_fd=self._from_fd))
        if stat.S_ISDIR(status.st_mode):
            if to.startswith(name + "/"):
                raise FileError(Code.BAD_NAME, name, _ITSELF)
            if self._deeper or _size(to) > _size(name):
                self._look_through(self._from_fd, self._part, "", 0)

    @property
    def _deeper(self) -> int:
        """How many levels further down it will lie."""
        return self._to.count("/") - self._name.count("/")

    def _look_through(self, above: int, part: str, below: str, level: int) -> None:
        """Check all that lies in a folder of what is moved.

        Args:
            above: Descriptor of what it lies in.
            part: Its name there.
            below: Its name, from what is moved on, with a slash; ``""`` for that itself.
            level: How far down that is.

        """
        if level > _LEVELS_MAX:
            raise FileError(Code.BAD_NAME, self._name, "nests too deep to be moved")
        self._tick()
        folders = []
        try:
            fd = os.open(part, FLAGS, dir_fd=above)
        except FileNotFoundError:
            return  # gone meanwhile
        except OSError as error:
            raise FileError.from_os(error, names.join(self._name, below.rstrip("/"))) from error
        try:
            with os.scandir(fd) as found:
                for each in found:
                    if names.is_reserved(each.name):
                        continue
                    self._check_name(f"{self._to}/{below}{each.name}")
                    if each.is_dir(follow_symlinks=False):
                        folders.append(each.name)
                    elif each.is_symlink() and self._deeper < 0:
                        target = os.readlink(each.name, dir_fd=fd)
                        self._check_link(f"{self._to}/{below}{each.name}", target)
            for name in folders:
                self._look_through(fd, name, f"{below}{name}/", level + 1)
        except OSError as error:
            raise FileError.from_os(error, names.join(self._name, below.rstrip("/"))) from error
        finally:
            os.close(fd)

    def _check_name(self, name: str) -> None:
        if self._deeper >= 0:  # further up names get no worse than they were
            try:
                names.split(name)
            except names.BadName as error:
                raise FileError(Code.BAD_NAME, name, str(error)) from None

    def _check_link(self, name: str, target: str) -> None:
        if self._deeper < 0 and target[:1] != "/" and not names.link_stays_inside(name, target):
            raise FileError(Code.DENIED, name, "the link would lead out of the folder")

    # The deed

    def _take(self) -> None:
        """Take the new name, or the place of what has it."""
        for _ in range(_TRIES):
            try:
                self.alone(self._rename)
            except FileExistsError:
                if self._replaced():
                    return
            else:
                return
        raise FileError(Code.IO_ERROR, self._to, "keeps being replaced by others")

    def _rename(self) -> None:
        system.rename_exclusive(self._from_fd, self._part, self._new_part, self._to_fd)

    def _replaced(self) -> bool:
        """Replace what has the name; False if it is to be looked at again."""
        with Locked(self._to_fd, self._new_part) as lock:
            if lock.is_refused:
                raise FileError(Code.IO_ERROR, self._to, "is locked by another program")
            if not lock.is_current:
                return False
            mine = os.stat(self._part, dir_fd=self._from_fd, follow_symlinks=False)
            try:
                there = os.stat(self._new_part, dir_fd=self._to_fd, follow_symlinks=False)
            except FileNotFoundError:
                return False
            if not self._is_itself(mine, there):
                self._check_replacing(mine, there, lock.fd)
            self.alone(self._replace)
            return True

    def _replace(self) -> None:
        os.rename(self._part, self._new_part, src_dir_fd=self._from_fd, dst_dir_fd=self._to_fd)

    def _is_itself(self, mine: os.stat_result, there: os.stat_result) -> bool:
        """Tell whether both names are one to the file system, as ``A`` and ``a`` may be."""
        if not os.path.samestat(mine, there):
            return False
        if not stat.S_ISDIR(mine.st_mode) and mine.st_nlink > 1:  # a rename would do nothing
            raise FileError(Code.EXISTS, self._to, "is the same file under another name")
        return True

    def _check_replacing(self, mine: os.stat_result, there: os.stat_result, fd: int) -> None:
        if stat.S_ISDIR(there.st_mode):
            raise FileError(Code.IS_A_FOLDER, self._to, "a folder of that name exists")
        if not self._overwrite:
            raise FileError(Code.EXISTS, self._to, "exists already")
        if stat.S_ISDIR(mine.st_mode):
            raise FileError(Code.NOT_A_FOLDER, self._to, "exists and is not a folder")
        if other := other_spelling(fd, self._new_part):
            text = f"{names.shown(other)} exists, and this file system takes the names for one"
            raise FileError(Code.EXISTS, self._to, text)

    def _failure(self, error: OSError) -> FileError:
        """Translate what the system said about the move."""
        if error.errno == errno.EINVAL:
            return FileError(Code.BAD_NAME, self._name, _ITSELF)
        if error.errno == errno.EXDEV:
            text = "lies on another disk than its new name; get it and put it there"
            return FileError(Code.IO_ERROR, self._name, text)
        return FileError.from_os(error, self._name)

    # Durability

    def _flush_contents(self) -> None:
        """Make the file's bytes durable: its new name must not hold less after a power cut."""
        try:
            fd = os.open(self._part, _OPEN, dir_fd=self._from_fd)
        except OSError:
            return  # not for us to read, or replaced; who wrote it sees to it
        try:
            self._folder.flush(fd)
        finally:
            os.close(fd)

    def _flush_names(self) -> None:
        """Make durable that it has the new name, and then that it has not the old one."""
        try:
            for fd in dict.fromkeys((self._to_fd, self._from_fd)):
                self._folder.flush_folder(fd)
        except OSError as error:
            text = f"is moved to {names.shown(self._to)}, but the disk failed to keep that"
            raise FileError(Code.IO_ERROR, self._name, text) from error


def _size(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
