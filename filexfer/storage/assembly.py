"""A file that is put together from pieces, in any order and by any process of this user.

Whoever begins it owns it: it has the temporary file made, and gives its id, the random part of
that file's name, to those who fill it. A filler holds a lock on the file while it writes a piece,
and first makes sure that the id is still its name. The owner renames it when all is there, and
waits for the locks: what writes afterwards finds no file of that id. So nothing can change
between the last look at its contents and its publishing.

This module must not know the network, or where pieces come from.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time

from filexfer import hashing, names
from filexfer.entry import entry_of_file
from filexfer.errors import Code, FileError
from filexfer.storage import system
from filexfer.storage.directories import Directories, locate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.entry import Entry
    from filexfer.storage.directory import Directory
    from filexfer.storage.staged import Staged
    from filexfer.storage.staging import Staging

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 2 << 20  # bytes read at a time
_LOCK_TRIES = 500  # fillers hold a lock for as long as one piece is written
_LOCK_PAUSE = 0.02  # seconds


class Assembly:
    """A file under a temporary name, seen by its owner.

    It ends with ``finish`` as a verified temporary file, or with ``discard`` as nothing.

    Args:
        staging: Where it goes.
        entry: What it shall be, with its size.

    Attributes:
        id: What fillers know it by.

    Raises:
        FileError: if it cannot be made, or there is no space for it.

    """

    def __init__(self, staging: Staging, entry: Entry) -> None:
        self.entry = entry
        self._staging = staging
        # Others of this user write and read it by its name, whatever its mode will be.
        self._draft = staging.begin(entry_of_file(entry.name, entry.size, entry.mtime, 0o600))
        self._is_open = True
        self.id = self._draft.staged.temporary[len(names.RESERVED) :].partition(".")[0]
        try:
            os.ftruncate(self._draft.fd, entry.size)
            fcntl.flock(self._draft.fd, fcntl.LOCK_SH)  # a file system may have no locks
            fcntl.flock(self._draft.fd, fcntl.LOCK_UN)
        except OSError as error:
            self.discard()
            raise FileError.from_os(error, entry.name) from error

    def note_progress(self) -> None:
        """Hold no more space for it than its pieces still need; those that came have theirs."""
        try:
            taken = os.fstat(self._draft.fd).st_blocks * 512
        except OSError:
            return  # it stays reserved until the end
        self._draft.reserve_at_most(max(0, self.entry.size - taken))

    def seal(self, tick: Callable[[], object]) -> None:
        """Let nobody write to it any more; *tick* is called while a filler is waited for.

        Raises:
            FileError: if that fails.

        """
        staged, fd = self._draft.staged, self._draft.fd
        temporary = self._staging.temporary()
        folder = staged.folder.fd
        try:
            os.rename(staged.temporary, temporary, src_dir_fd=folder, dst_dir_fd=folder)
            staged.temporary = temporary
            for _ in range(_LOCK_TRIES):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    tick()
                    time.sleep(_LOCK_PAUSE)
                else:
                    fcntl.flock(fd, fcntl.LOCK_UN)
                    return
        except OSError as error:
            raise FileError.from_os(error, self.entry.name) from error
        raise FileError(Code.IO_ERROR, self.entry.name, "is locked by another program")

    def digest(self, algorithm: str, tick: Callable[[], object]) -> str:
        """Return the digest of all that is in it; *tick* is called now and then.

        Raises:
            FileError: if it cannot be read.

        """
        made = hashing.new(algorithm)
        view = memoryview(bytearray(_PIECE))
        staged = self._draft.staged
        try:
            fd = os.open(staged.temporary, os.O_RDONLY | _OPEN, dir_fd=staged.folder.fd)
            try:
                while got := os.readv(fd, [view]):
                    made.update(view[:got])
                    tick()
            finally:
                os.close(fd)
        except OSError as error:
            raise FileError.from_os(error, self.entry.name) from error
        return hashing.text(algorithm, made)

    def finish(self, digest: str) -> Staged:
        """Set its mode and time, and return it ready to be published.

        Args:
            digest: Of the whole, verified.

        Raises:
            FileError: if that fails; nothing of it is left.

        """
        entry = self.entry
        try:
            os.fchmod(self._draft.fd, entry.mode & 0o777 & ~system.umask())
        except OSError as error:
            self.discard()
            raise FileError.from_os(error, entry.name) from error
        self._is_open = False
        staged = self._draft.finish(entry)
        entry.extra = digest
        staged.entry = entry
        return staged

    def discard(self) -> None:
        """Remove it; harmless when it is finished or discarded."""
        if self._is_open:
            self._is_open = False
            self._draft.discard()


class Filler:
    """Writes pieces into assemblies of any process, for one thread; a context manager.

    Args:
        root: Descriptor of the root that names are relative to; stays the caller's.
        place: Makes what says where a folder really is, from the open folders.

    """

    def __init__(
        self, root: int, place: Callable[[Directories], Callable[[str], str]] = lambda _: str
    ) -> None:
        self._folders = Directories(root)
        self._place = place(self._folders)
        self._key = ("", "")  # name and id of the file that is open
        self._fd = -1
        self._folder: Directory | None = None  # that it lies in, kept open

    def __enter__(self) -> Filler:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        self._close_file()
        self._folders.close()

    def write(self, name: str, number: str, offset: int, data: memoryview) -> None:
        """Write *data* at *offset* of the file *name* that was begun with the id *number*.

        Raises:
            FileError: if no such file is being put together, it has no room there, or the disk
                does not take the bytes.

        """
        fd, folder = self._open(name, number)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            try:
                status = os.stat(_temporary(number), dir_fd=folder.fd, follow_symlinks=False)
                is_it = os.path.samestat(status, os.fstat(fd)) and _is_ours(status)
                if not is_it or offset + len(data) > status.st_size:
                    raise _unknown(name)
                done = 0
                while done < len(data):
                    done += os.pwrite(fd, data[done:], offset + done)
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
        except (BlockingIOError, FileNotFoundError):  # its owner has sealed or removed it
            raise _unknown(name) from None
        except OSError as error:
            raise FileError.from_os(error, name) from error

    def _open(self, name: str, number: str) -> tuple[int, Directory]:
        if self._folder is None or self._key != (name, number):
            self._close_file()
            above, _ = locate(name)
            if not _ID.fullmatch(number):
                raise _unknown(name)
            try:
                folder = self._folders.get(self._place(above))
                fd = os.open(_temporary(number), os.O_WRONLY | _OPEN, dir_fd=folder.fd)
            except (FileError, OSError):  # which says nothing about what else is there
                raise _unknown(name) from None
            folder.users += 1
            self._fd, self._folder, self._key = fd, folder, (name, number)
        return self._fd, self._folder

    def _close_file(self) -> None:
        if self._folder is not None:
            os.close(self._fd)
            self._folder.users -= 1
            self._folder = None


def _temporary(number: str) -> str:
    return f"{names.RESERVED}{number}.part"


def _is_ours(status: os.stat_result) -> bool:
    is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    return is_plain and status.st_uid == os.geteuid()


def _unknown(name: str) -> FileError:
    return FileError(Code.NOT_FOUND, name, "no such piece of a file of that name is awaited here")
