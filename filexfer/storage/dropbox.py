"""Writing into a folder without learning what is in it: whatever has a name, nothing shows.

What is offered is always wanted. A file whose name is taken gets a name that is derived from its
contents, a folder whose name is taken by something else one that is derived from its name; so a
repeated try finds itself again, and the same contents are stored once. Contents are compared byte
by byte: no hash that somebody could forge makes a file count as stored. Folders that are there are
filled, and keep their modes and times.

How long an answer takes is not hidden.

This module must not know who may do what.
"""

from __future__ import annotations

import os
import stat

from filexfer import hashing, names
from filexfer.entry import FILE, LINK
from filexfer.errors import Code, FileError
from filexfer.storage import system
from filexfer.storage.directories import Directories, locate
from filexfer.storage.limited import Allowance, Charge, Charged, Limited
from filexfer.storage.policy import Choice, Decision, Policy
from filexfer.storage.staged import ARRIVED, FolderFinish, Result, Staged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.entry import Entry
    from filexfer.storage.directory import Directory
    from filexfer.storage.folder import Folder

_MARK = 9  # bytes that a derived name may be longer
_PLACES_MAX = 1000  # remembered
_PIECE = 1 << 20  # bytes compared at a time
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCKED = (Code.NOT_A_FOLDER, Code.NOT_REGULAR, Code.DENIED)
_WANTED = Decision(Choice.KEEP_BOTH)


class DropBox(Limited):
    """The receiving end of one exchange, which tells nothing of what is there.

    Args:
        folder: Where everything goes.
        durability: ``none``, ``batch`` or ``file``.
        limits: What may be stored.

    """

    def __init__(self, folder: Folder, durability: str, limits: Allowance) -> None:
        policy = Policy("keep-both", may_overwrite=False, may_read=False)
        super().__init__(folder, policy, durability, limits)
        self._places = Places(self.folders)

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say that it is wanted, unless it never could be."""
        del tick
        try:
            check(offered.name)
            if offered.type == FILE:
                self.limits.check(offered.name, offered.size)
        except FileError as error:
            return Decision(Choice.REFUSE, error.code, error.text)
        return _WANTED

    def make_folder(self, entry: Entry, *, is_shared: bool = False) -> FolderFinish:
        """Make a folder, if it is missing; one that is there keeps its mode and time."""
        del is_shared
        check(entry.name)
        folder = self.folders.get(self._places(entry.name, entry.mode & 0o777 | 0o700))
        kind = FolderFinish if folder.made else _Untouched
        return kind(folder, entry, may_change_mode=False)

    def make_parents(self, name: str) -> None:
        """Make the folder *name* and its missing parents.

        Raises:
            FileError: if it cannot be made.

        """
        check(name)
        self._places(name)

    def _folder_of(self, name: str, above: str) -> Directory:
        check(name)
        try:
            return self.folders.get(self._places(above))
        except FileError as error:
            raise FileError(error.code, name, error.text) from None

    def _staged(self, folder: Directory, temporary: str, part: str, entry: Entry) -> Staged:
        return _Dropped(self, folder, temporary, part, entry, Charge(self.limits))


class Places:
    """Where the folders of a drop box really are.

    Args:
        folders: The folders below its root.
        making: Whether folders that are missing are made.

    """

    def __init__(self, folders: Directories, *, making: bool = True) -> None:
        self._folders = folders
        self._making = making
        self._known: dict[str, str] = {"": ""}

    def __call__(self, name: str, mode: int = 0o777) -> str:
        """Return the name of the folder that stands for the folder *name*.

        Args:
            name: As the client calls it.
            mode: Permission bits (less the umask), if it is made.

        Raises:
            FileError: if the name is bad, or it is missing and cannot be made.

        """
        found = self._known.get(name)
        if found is None:
            above, part = locate(name)
            found = self._enter(name, self(above), part, mode)
            if len(self._known) >= _PLACES_MAX:
                self._known = {"": ""}
            self._known[name] = found
        return found

    def _enter(self, name: str, above: str, part: str, mode: int) -> str:
        digest = hashing.digest_of("sha256")(part.encode("utf-8", "surrogateescape"))
        for candidate in (part, *_derived(part, digest)):
            place = names.join(above, candidate)
            try:
                folders = self._folders
                folder = folders.make(place, mode) if self._making else folders.get(place)
            except FileError as error:
                if error.code not in _BLOCKED:
                    raise FileError(error.code, name, error.text) from None
            else:
                if os.access(".", os.W_OK | os.X_OK, dir_fd=folder.fd):
                    return place
        raise FileError(Code.DENIED, name, "the folder cannot be made")


class _Dropped(Charged):
    """A file or a link that takes its name, or one that is derived from its contents."""

    __slots__ = ()

    def _rename(self) -> Result:
        try:
            if self._takes(self.part):
                return ARRIVED
            for part in _derived(self.part, self._digest(), endless=True):
                if self._takes(part):
                    return ARRIVED
        except BaseException:
            self._remove()
            raise
        raise AssertionError("there is always another name")

    def _takes(self, part: str) -> bool:
        """Take a name, or find the same there already; False if something else has it."""
        try:
            system.rename_exclusive(self.folder.fd, self.temporary, part)
        except FileExistsError:
            if not self._is_same(part):
                return False
            self._remove()
            self.charge.close()
        return True

    def _digest(self) -> str:
        """Return what derived names are made of: the same whatever hash the client verifies by."""
        digest = self.entry.extra
        if self.entry.type == LINK:
            return hashing.digest_of(hashing.DEFAULT)(os.fsencode(digest))
        if hashing.algorithm_of(digest) == hashing.DEFAULT:
            return digest
        made = hashing.new(hashing.DEFAULT)
        try:
            fd = os.open(self.temporary, _OPEN, dir_fd=self.folder.fd)
        except OSError:
            return digest  # its mode does not let us read it again
        try:
            while piece := os.read(fd, _PIECE):
                made.update(piece)
        finally:
            os.close(fd)
        return hashing.text(hashing.DEFAULT, made)

    def _is_same(self, part: str) -> bool:
        """Tell whether what is called *part* is the same; what cannot be read is not."""
        folder = self.folder.fd
        try:
            if self.entry.type == LINK:
                return os.readlink(part, dir_fd=folder) == self.entry.extra
            return _same_bytes(folder, part, self.temporary)
        except OSError:
            return False


class _Untouched(FolderFinish):
    """A folder that was there already."""

    __slots__ = ()

    def publish(self) -> Result:
        """Leave it as it is."""
        return ARRIVED


def check(name: str) -> None:
    """Check a name, whatever has it now.

    Raises:
        FileError: if it may not be used, or a derived name would be too long.

    """
    try:
        parts = names.split(name)
        room = names.NAME_MAX - _MARK * len(parts)
        if len(name.encode("utf-8", "surrogateescape")) > room:
            raise names.BadName(f"the name is longer than {room} bytes")
    except names.BadName as error:
        raise FileError(Code.BAD_NAME, name, str(error)) from None


def _derived(part: str, digest: str, *, endless: bool = False) -> Iterator[str]:
    """Yield the names that are derived from a digest, and after them random ones, if *endless*."""
    algorithm, _, digits = digest.partition(":")
    for at in range(0, len(digits), 8):
        yield names.derived(part, f"{algorithm}:{digits[at : at + 8]}")
    while endless:
        yield names.derived(part, f"{algorithm}:{os.urandom(4).hex()}")


def _same_bytes(folder: int, one: str, other: str) -> bool:
    """Compare two regular files of a folder.

    Raises:
        OSError: if one cannot be read.

    """
    first = second = -1
    try:
        first = os.open(one, _OPEN, dir_fd=folder)
        second = os.open(other, _OPEN, dir_fd=folder)
        found, mine = os.fstat(first), os.fstat(second)
        if not stat.S_ISREG(found.st_mode) or found.st_size != mine.st_size:
            return False
        while True:
            piece = os.read(first, _PIECE)
            if piece != os.read(second, _PIECE):
                return False
            if not piece:
                return True
    finally:
        for fd in (first, second):
            if fd >= 0:
                os.close(fd)
