"""Reading a folder for one exchange: walking it, opening its files, reading the small ones whole.

This module must not know who asks, or what becomes of the bytes.
"""

from __future__ import annotations

import errno
import os
import stat

from filexfer import hashing, names
from filexfer.entry import FILE, FOLDER, LINK, SPECIAL, Entry, Extent
from filexfer.errors import Code, FileError
from filexfer.storage.directories import Directories, locate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.hashing import Hash
    from filexfer.storage.directory import Directory


PIECE = 2 << 20  # bytes read at a time from a large file
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not block us
_FORMATS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: LINK}


class Reading:
    """Access to the files below a root, for one thread; a context manager.

    Args:
        root: Descriptor of the root; stays the caller's.

    Attributes:
        newest: When what was looked at by name was changed last, in nanoseconds.

    """

    def __init__(self, root: int) -> None:
        self._folders = Directories(root)
        self.newest = 0

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folders that are open."""
        self._folders.close()

    def stat(self, name: str) -> Entry:
        """Return what *name* is.

        Raises:
            FileError: if there is nothing of that name, or the name is bad.

        """
        if not name:
            return _entry("", os.fstat(self._folders.get("").fd))
        try:
            above, part = names.locate(name)
        except names.BadName as error:
            raise FileError(Code.BAD_NAME, name, str(error)) from None
        folder = self._folders.known(above) or self._folders.get(above)
        try:
            status = os.stat(part, dir_fd=folder.fd, follow_symlinks=False)
            self.newest = max(self.newest, status.st_ctime_ns)
            return _entry_in(folder, name, part, status)
        except OSError as error:
            raise FileError.from_os(error, name) from error
        except UnicodeEncodeError:
            raise FileError(Code.NOT_FOUND, name, "no such file or folder") from None

    def walk(
        self,
        name: str,
        report: Callable[[FileError], object],
        *,
        recursive: bool = True,
        extent: Callable[[str], Extent] = lambda _: Extent.ALL,
    ) -> Iterator[Entry]:
        """Yield *name*, and if it is a folder all below it, a folder before what is in it.

        Only the entries of one folder a level are held at a time.

        Args:
            name: Where to begin; if nothing is there, a FileError is raised.
            report: Is called with what cannot be read; the walk goes on.
            recursive: Whether to go down into the folders found.
            extent: Says how much is wanted of what lies in the folder of a name.

        """
        first = self.stat(name)
        if first.type != FOLDER:
            yield first
            return
        levels = [[first]]
        while levels:
            if not levels[-1]:
                levels.pop()
                continue
            folder = levels[-1].pop()
            folder_name = folder.name  # the entry is the caller's once it is yielded
            yield folder
            wanted = extent(folder_name)
            if wanted is Extent.NOTHING or (len(levels) > 1 and not recursive):
                continue
            below: list[Entry] = []
            yield from self._scan(folder_name, below, report, wanted)
            below.reverse()
            levels.append(below)

    def has_folders(self, name: str) -> bool:
        """Tell whether other folders lie in the folder *name*; not if it cannot be read."""
        try:
            with os.scandir(self._folders.get(name).fd) as found:
                return any(each.is_dir(follow_symlinks=False) for each in found)
        except (FileError, OSError):
            return False

    def has_many(self, name: str, least: int) -> bool:
        """Tell whether at least *least* files and links lie in the folder *name* and below.

        That takes their names alone, a tenth of the time of a walk.
        """
        found, folders = 0, [name]
        while folders and found < least:
            above = folders.pop()
            try:
                with os.scandir(self._folders.get(above).fd) as entries:
                    for each in entries:
                        if each.is_dir(follow_symlinks=False):
                            folders.append(names.join(above, each.name))
                        else:
                            found += 1
            except (FileError, OSError):
                continue  # no folder, or one that cannot be read
        return found >= least

    def open(self, name: str) -> tuple[int, os.stat_result]:
        """Open a regular file; return its descriptor, which is the caller's, and its status.

        Raises:
            FileError: if it is no regular file or cannot be opened.

        """
        folder, part = self._locate(name)
        try:
            fd = os.open(part, _OPEN, dir_fd=folder.fd)
        except OSError as error:
            raise FileError.from_os(error, name) from error
        except UnicodeEncodeError:
            raise FileError(Code.NOT_FOUND, name, "no such file or folder") from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise FileError(Code.NOT_REGULAR, name, "is not a regular file")
        return fd, status

    def read(self, entry: Entry, limit: int) -> bytes | None:
        """Return a small file's bytes, all of one moment; its size and times go into *entry*.

        Args:
            entry: What a walk found; brought up to date if the file changed since.
            limit: Bytes above which None is returned: the file is not small any more.

        Raises:
            FileError: if it cannot be read, or does not stop changing.

        """
        name = entry.name
        above, part = locate(name)
        folder = self._folders.known(above) or self._folders.get(above)
        try:
            fd = os.open(part, _OPEN, dir_fd=folder.fd)
            try:
                for _ in range(2):  # one silent retry, with what the first try found out
                    size, mtime = entry.size, entry.mtime
                    if size > limit:
                        return None
                    data = os.pread(fd, size + 1, 0)
                    status = os.fstat(fd)
                    entry.size, entry.mtime = status.st_size, status.st_mtime_ns
                    if not stat.S_ISREG(status.st_mode):
                        break
                    if len(data) == size == entry.size and mtime == entry.mtime:
                        return data
            finally:
                os.close(fd)
        except OSError as error:
            raise _unreadable(error, name) from error
        if not stat.S_ISREG(status.st_mode):
            raise FileError(Code.NOT_REGULAR, name, "is not a regular file any more")
        raise FileError(Code.CHANGED, name, "changes while it is read")

    def large(self, entry: Entry) -> LargeFile:
        """Open a file to be read in pieces.

        Raises:
            FileError: as ``open`` does.

        """
        return LargeFile(self, entry)

    def digest(
        self,
        name: str,
        algorithm: str,
        tick: Callable[[], object],
        new: Callable[[str], Hash] = hashing.new,
    ) -> str:
        """Return the digest of a file as ``algorithm:hex``; *tick* is called now and then."""
        fd, _ = self.open(name)
        made = new(algorithm)
        view = memoryview(bytearray(PIECE))
        try:
            while got := os.readv(fd, [view]):
                made.update(view[:got])
                tick()
        except OSError as error:
            raise _unreadable(error, name) from error
        finally:
            os.close(fd)
        return hashing.text(algorithm, made)

    def _locate(self, name: str) -> tuple[Directory, str]:
        above, part = locate(name)
        return self._folders.get(above), part

    def _scan(
        self,
        name: str,
        below: list[Entry],
        report: Callable[[FileError], object],
        wanted: Extent,
    ) -> Iterator[Entry]:
        """Yield what lies in a folder; the folders among it go to *below* instead."""
        prefix = name + "/" if name else ""
        only_folders = wanted is Extent.FOLDERS
        try:
            folder = self._folders.get(name)
        except FileError as error:
            report(error)
            return
        folder.users += 1  # its descriptor stays needed for each entry's status
        try:
            with os.scandir(folder.fd) as found:
                for each in found:
                    part = each.name
                    if part[:1] == "." and names.is_reserved(part):
                        continue
                    if only_folders and not each.is_dir(follow_symlinks=False):
                        continue
                    try:
                        status = each.stat(follow_symlinks=False)
                        entry = _entry_in(folder, prefix + part, part, status)
                    except FileNotFoundError:
                        continue  # removed meanwhile
                    except OSError as error:
                        report(FileError.from_os(error, prefix + part))
                        continue
                    if entry.type == FOLDER:
                        below.append(entry)
                    else:
                        yield entry
        except OSError as error:
            report(FileError.from_os(error, name))
        finally:
            folder.users -= 1


class LargeFile:
    """A file that is read in pieces, holes told apart.

    Args:
        reading: Opens it.
        entry: What a walk found; brought up to date on opening.

    """

    def __init__(self, reading: Reading, entry: Entry) -> None:
        self._fd, status = reading.open(entry.name)
        entry.size, entry.mtime = status.st_size, status.st_mtime_ns
        self.entry = entry
        self.sparse = status.st_blocks * 512 < status.st_size
        self._at = 0

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)

    @property
    def size(self) -> int:
        """Bytes, as found on opening."""
        return self.entry.size

    def read_into(self, view: memoryview) -> int:
        """Read the next bytes into *view*, up to the size the file had at first; 0 at its end.

        Raises:
            FileError: if the disk cannot read them.

        """
        room = min(len(view), self.entry.size - self._at)
        if room <= 0:
            return 0
        try:
            got = os.preadv(self._fd, [view[:room]], self._at)
        except OSError as error:
            raise _unreadable(error, self.entry.name) from error
        self._at += got
        return got

    def read_at(self, view: memoryview, offset: int) -> None:
        """Fill *view* with the bytes from *offset* on.

        Raises:
            FileError: if the disk cannot read them, or the file is too short by now.

        """
        done = 0
        try:
            while done < len(view):
                got = os.preadv(self._fd, [view[done:]], offset + done)
                if not got:
                    raise FileError(Code.CHANGED, self.entry.name, "changed while it was read")
                done += got
        except OSError as error:
            raise _unreadable(error, self.entry.name) from error

    def hole(self, most: int) -> int:
        """Skip a hole here, if there is one, and return its size, at most *most* bytes."""
        if not self.sparse or self._at >= self.entry.size:
            return 0
        try:
            data = os.lseek(self._fd, self._at, os.SEEK_DATA)
        except OSError:  # nothing but a hole to the end; or the file system cannot tell
            data = self.entry.size if self._is_at_hole() else self._at
        size = min(data - self._at, self.entry.size - self._at, most)  # it may have grown
        self._at += size
        return size

    def until_hole(self, most: int) -> int:
        """Return how many bytes come before the next hole, at most *most*."""
        if not self.sparse:
            return most
        try:
            return min(os.lseek(self._fd, self._at, os.SEEK_HOLE) - self._at, most) or most
        except OSError:
            return most

    def check_unchanged(self) -> None:
        """Make sure that what was read is of one moment.

        Raises:
            FileError: if the file shrank, grew or was written to meanwhile.

        """
        status = os.fstat(self._fd)
        if (status.st_size, status.st_mtime_ns) != (self.entry.size, self.entry.mtime):
            raise FileError(Code.CHANGED, self.entry.name, "changed while it was read")

    def _is_at_hole(self) -> bool:
        try:
            return os.lseek(self._fd, self._at, os.SEEK_HOLE) == self._at
        except OSError:
            return False


def _entry_in(folder: Directory, name: str, part: str, status: os.stat_result) -> Entry:
    if stat.S_ISREG(status.st_mode):
        return Entry(name, FILE, status.st_size, status.st_mtime_ns, status.st_mode & 0o777)
    entry = _entry(name, status)
    if entry.type == LINK:
        try:
            entry.extra = os.readlink(part, dir_fd=folder.fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise FileNotFoundError(errno.ENOENT, "changed") from error  # no link any more
    return entry


def _entry(name: str, status: os.stat_result) -> Entry:
    kind = _FORMATS.get(stat.S_IFMT(status.st_mode), SPECIAL)
    size = status.st_size if kind == FILE else 0
    return Entry(name, kind, size, status.st_mtime_ns, status.st_mode & 0o777)


def _unreadable(error: OSError, name: str) -> FileError:
    found = FileError.from_os(error, name)
    return found if found.code != Code.IO_ERROR else FileError(Code.UNREADABLE, name, found.text)
