"""Items that are complete under temporary names, and how each takes its place.

A new name is taken by a rename that refuses to replace. Where the name is taken already, the
decision and the deed happen under a lock on the file that has it, so that nothing changes between
the look and the act; every process of filexfer keeps to that.

This module must not know when items are published, or the network.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from filexfer import names
from filexfer.entry import LINK
from filexfer.errors import Code, FileError
from filexfer.storage import system
from filexfer.storage.directory import remove_temporary, time_kept
from filexfer.storage.policy import Choice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from filexfer.entry import Entry
    from filexfer.storage.directory import Directory
    from filexfer.storage.policy import Policy

    class Staging(Protocol):
        """What an item needs of the staging that it came in by."""

        policy: Policy
        durability: str

        def find(self, name: str) -> Entry | None:
            """Return what has the name now."""

        def digest(self, name: str, algorithm: str) -> str:
            """Return the digest of what is there."""

        def flush_folder(self, descriptor: int) -> None:
            """Make the names in a folder durable."""

        def temporary(self) -> str:
            """Return a temporary name that nothing has."""


_TRIES = 100  # how often others may replace the target under our hands
_LOCK_TRIES = 500  # others of us hold a lock for a moment, or while they hash one file
_LOCK_PAUSE = 0.02  # seconds
AS_IT_IS = -1  # for the mode of a folder: not to be changed


class Result:
    """What became of an item.

    Attributes:
        choice: TAKE or REPLACE (it is published), IDENTICAL, SKIP, KEEP_BOTH or REFUSE.
        error: Why it was refused or failed.
        name: With KEEP_BOTH, the name it got.

    """

    __slots__ = ("choice", "error", "name")

    def __init__(self, choice: Choice, error: FileError | None = None, name: str = "") -> None:
        self.choice = choice
        self.error = error
        self.name = name

    @classmethod
    def failure(cls, code: str, name: str, text: str) -> Result:
        """Return the result of an item that is not published."""
        return cls(Choice.REFUSE, FileError(code, name, text))


class Staged:
    """A file or a link under a temporary name.

    Args:
        staging: Where it came in; has the policy.
        folder: Where it lies; kept open until it is published or discarded.
        temporary: Its name there.
        part: The name it shall have.
        entry: What it is; a file's digest is in ``extra``.

    Attributes:
        number: The item it is, for whoever publishes.

    """

    __slots__ = ("_fd", "_staging", "entry", "folder", "number", "part", "temporary")

    def __init__(
        self, staging: Staging, folder: Directory, temporary: str, part: str, entry: Entry
    ) -> None:
        self._staging = staging
        self.number = 0
        self.folder = folder
        self.temporary = temporary
        self.part = part
        self.entry = entry
        self._fd = folder.fd
        folder.users += 1

    def publish(self) -> Result:
        """Let it take its place, and say how that went; it is gone from its temporary name."""
        try:
            if self.folder.hidden_in or self.folder.fd != self._fd:
                self._reveal()
            if self.temporary == self.part:  # it has its name since it was written
                return ARRIVED
            result = self._rename()
            if self._staging.durability == "file":
                self._staging.flush_folder(self.folder.fd)
        except FileError as error:
            return Result(Choice.REFUSE, error)
        except OSError as error:
            return Result(Choice.REFUSE, FileError.from_os(error, self.entry.name))
        except UnicodeEncodeError:
            return self._failure(Code.BAD_NAME, "this system cannot write the name")
        return result

    def discard(self) -> None:
        """Remove it; it was not wanted or not good."""
        with time_kept(self._fd):
            self._remove()
        self.release()

    def _remove(self) -> None:
        try:
            remove_temporary(self._fd, self.temporary)
        except OSError:
            pass  # it stays hidden, and the next sweep finds it

    def place(self) -> tuple[Directory, int]:
        """Return the folder it lies in, and its descriptor."""
        return self.folder, self.folder.fd

    def release(self) -> None:
        """Let go of the folder."""
        self.folder.users -= 1

    def _reveal(self) -> None:
        """Let its folder be seen; follow it if it was merged with one that others made."""
        folder = self.folder
        try:
            if folder.hidden_in:
                folder.reveal()
            if folder.fd != self._fd:
                temporary = self._staging.temporary()
                os.rename(self.temporary, temporary, src_dir_fd=self._fd, dst_dir_fd=folder.fd)
                self.temporary, self._fd = temporary, folder.fd
        except BaseException:
            self._remove()
            raise

    def _rename(self) -> Result:
        try:
            system.rename_exclusive(self.folder.fd, self.temporary, self.part)
        except FileExistsError:
            return self._where_taken()
        except BaseException:
            self._remove()
            raise
        return ARRIVED

    def _where_taken(self) -> Result:
        """Decide about a name that is taken, and do it, without a gap between."""
        before = os.fstat(self.folder.fd)
        result = None
        try:
            for _ in range(_TRIES):
                with _Locked(self.folder.fd, self.part) as lock:
                    if lock.is_refused:
                        return self._failure(Code.IO_ERROR, "is locked by another program")
                    result = self._decided(lock.fd) if lock.is_current else None
                if result:
                    return result
            return self._failure(Code.IO_ERROR, "keeps being replaced by others")
        finally:
            self._remove()
            if not result or result.choice not in _PUBLISHED:
                self._restore_time(before)

    def _restore_time(self, before: os.stat_result) -> None:
        """Give the folder the time it had: nothing in it has changed in the end."""
        try:
            os.utime(self.folder.fd, ns=(before.st_atime_ns, before.st_mtime_ns))
        except OSError:
            pass  # the folder is somebody else's, and so is its time

    def _decided(self, existing_fd: int) -> Result | None:
        """Decide, also where what has the name is removed while it is looked at."""
        try:
            return self._decide(existing_fd)
        except FileError as error:
            if error.code != Code.NOT_FOUND:
                raise
            return None

    def _decide(self, existing_fd: int) -> Result | None:
        """Return the result; None if the name became free meanwhile and is to be tried again."""
        existing = self._staging.find(self.entry.name)
        if existing is None:
            try:
                self._take()
            except FileExistsError:
                return None
            return ARRIVED
        decision = self._staging.policy.decide(self.entry, existing, self._digest_of_existing)
        if decision.choice is Choice.REPLACE:
            return self._replace_existing(existing_fd)
        if decision.choice is Choice.KEEP_BOTH:
            return self._keep_beside()
        if decision.choice is Choice.REFUSE:
            return self._failure(decision.code, decision.text)
        return Result(decision.choice)

    def _replace_existing(self, existing_fd: int) -> Result:
        if other := other_spelling(existing_fd, self.part):
            text = f"{names.shown(other)} exists, and this file system takes the names for one"
            return self._failure(Code.EXISTS, text)
        self._replace()
        return _REPLACED

    def _take(self) -> None:
        """Take the name, which is free."""
        system.rename_exclusive(self.folder.fd, self.temporary, self.part)

    def _replace(self) -> None:
        """Take the place of what has the name."""
        fd = self.folder.fd
        os.rename(self.temporary, self.part, src_dir_fd=fd, dst_dir_fd=fd)

    def _digest_of_existing(self) -> str:
        return self._staging.digest(self.entry.name, self.entry.extra.partition(":")[0])

    def _keep_beside(self) -> Result:
        """Take the name that is derived from the contents."""
        if self.entry.type == LINK:
            return self._failure(Code.EXISTS, "exists and differs")
        part = names.derived(self.part, self.entry.extra)
        name = names.join(self.entry.name.rpartition("/")[0], part)
        try:
            system.rename_exclusive(self.folder.fd, self.temporary, part)
        except FileExistsError:
            algorithm = self.entry.extra.partition(":")[0]
            if self._staging.digest(name, algorithm) == self.entry.extra:
                return Result(Choice.IDENTICAL)
            return self._failure(Code.EXISTS, f"{names.shown(part)} exists and differs")
        return Result(Choice.KEEP_BOTH, None, name)

    def _failure(self, code: str, text: str) -> Result:
        return Result.failure(code, self.entry.name, text)


class FolderFinish:
    """Mode and time of a folder, to be set when all in it is published.

    Attributes:
        number: Always 0: the folder itself was settled when it was made.

    """

    __slots__ = ("_may_change_mode", "entry", "folder", "number")

    def __init__(self, folder: Directory, entry: Entry, *, may_change_mode: bool) -> None:
        self.number = 0
        self.folder = folder
        self.entry = entry
        self._may_change_mode = may_change_mode
        folder.users += 1

    def publish(self) -> Result:
        """Set them, and say how that went."""
        mode = self.entry.mode & 0o777 & ~system.umask()
        try:
            self.folder.reveal()
            fd = self.folder.fd
            now = stat.S_IMODE(os.fstat(fd).st_mode)
            # A folder that cannot be written is made writable first, perhaps by another exchange.
            is_filled = now & 0o777 == mode | 0o700 and mode & 0o500 == 0o500
            may_change = self._may_change_mode or self.folder.made or is_filled
            if may_change and self.entry.mode != AS_IT_IS and now & 0o777 != mode:
                os.fchmod(fd, now & ~0o777 | mode)  # a shared folder keeps its special bits
            os.utime(fd, ns=(self.entry.mtime, self.entry.mtime))
        except OSError as error:
            return Result(Choice.REFUSE, FileError.from_os(error, self.entry.name))
        except OverflowError:
            return Result.failure(Code.IO_ERROR, self.entry.name, "its time is out of range")
        return ARRIVED

    def discard(self) -> None:
        """Leave the folder as it is."""
        self.release()

    def place(self) -> tuple[Directory, int]:
        """Return the folder, and its descriptor."""
        return self.folder, self.folder.fd

    def release(self) -> None:
        """Let go of the folder."""
        self.folder.users -= 1


class _Locked:
    """An exclusive lock on the file that has a name now; links and unreadable files have none."""

    def __init__(self, folder: int, part: str) -> None:
        self._folder = folder
        self._part = part
        self.fd = -1
        self.is_current = True
        self.is_refused = False  # somebody else does not let go of it

    def __enter__(self) -> _Locked:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self.fd = os.open(self._part, flags, dir_fd=self._folder)
            if not stat.S_ISREG(os.fstat(self.fd).st_mode):
                return self  # a folder's lock is its claim, perhaps our own
            self.is_refused = not self._lock()
            now = os.stat(self._part, dir_fd=self._folder, follow_symlinks=False)
            self.is_current = os.path.samestat(now, os.fstat(self.fd))
        except OSError:
            pass  # gone, a link, or unreadable: decided without a lock
        return self

    def __exit__(self, *exc: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def _lock(self) -> bool:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE)
            else:
                return True
        return False


def other_spelling(fd: int, part: str) -> str:
    """Return the name of the open file if it is another that the file system takes for *part*.

    So of two files that a file system without capitals, or with one form of accents, cannot tell
    apart, none is lost unseen.
    """
    name = system.name_of(fd) if fd >= 0 else ""
    if not name or name == part:
        return ""
    from filexfer.storage.spelling import folded  # noqa: PLC0415 - seldom needed

    return name if folded(name) == folded(part) else ""


_PUBLISHED = (Choice.TAKE, Choice.REPLACE, Choice.KEEP_BOTH)
ARRIVED = Result(Choice.TAKE)  # under a name that was free
_REPLACED = Result(Choice.REPLACE)
