"""Writing files under temporary names, beside the names they will get.

A temporary file lies in its target's own folder, so that one rename publishes it. While it is
there, its folder is claimed (see ``Directory.claim``); what a killed process left behind is
recognised by its name, never listed or served, and removed by the next process that writes
there and finds no claim.

This module must not know the network, nor when staged files are published.
"""

from __future__ import annotations

import os
from time import time_ns

from filexfer import names
from filexfer.entry import FILE, FOLDER, Entry
from filexfer.errors import Code, FileError
from filexfer.storage import system
from filexfer.storage.directories import Directories, locate
from filexfer.storage.draft import Draft
from filexfer.storage.policy import IDENTICAL, Choice, Decision
from filexfer.storage.reading import Reading
from filexfer.storage.room import BLOCK, Room
from filexfer.storage.staged import FolderFinish, Staged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.storage.contract import Reader
    from filexfer.storage.directory import Directory
    from filexfer.storage.folder import Folder
    from filexfer.storage.policy import Policy

_SETTLES = 3600 * 10**9  # nanoseconds, in which every system has long written a change out
LARGE = 16 << 20  # bytes from which free space is looked at before a file is taken
_WRITES = {Choice.TAKE, Choice.REPLACE, Choice.KEEP_BOTH, Choice.WANT_DIGEST}
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """The receiving end of one exchange, for one thread; a context manager.

    Args:
        folder: Where everything goes.
        policy: What to do with names that are taken.
        durability: ``none``, ``batch`` or ``file``.

    Attributes:
        found_identical: Whether something counts as done because it was there, which a process
            that was killed may have left a short time ago, before it was durable.

    """

    def __init__(self, folder: Folder, policy: Policy, durability: str = "batch") -> None:
        system.load()
        self.folder = folder
        self.policy = policy
        self.durability = durability
        one_by_one = durability == "batch" and not system.has_file_system_flush()
        self.flushes = durability == "file" or one_by_one
        flush = folder.flush_folder if self.flushes else None
        self.folders = Directories(folder.fd, making=True, flush=flush)
        self._hides = durability == "batch" and not one_by_one
        self._direct: list[Directory] = []
        self._reading: Reader = Reading(folder.fd)
        self.found_identical = False
        self._settled_by = time_ns() - _SETTLES  # what was not changed since then is durable
        self._prefix = names.RESERVED + os.urandom(12).hex()
        self._count = 0
        self.room = Room(folder.bounds, folder.reservations)

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reading.close()
        self.folders.close()

    @property
    def folders_opened(self) -> int:
        """How many folders were opened so far."""
        return self.folders.opened

    def find(self, name: str) -> Entry | None:
        """Return what has the name now."""
        try:
            return self._reading.stat(name)
        except FileError as error:
            if error.code == Code.NOT_FOUND:
                return None
            raise

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say what would happen to *offered*, without doing it.

        Args:
            offered: With its digest in ``extra``, if it is known.
            tick: Is called now and then while a digest is computed.

        """
        try:
            existing = self.find(offered.name)
            if existing and self.policy.sees_no_change(offered, existing):  # as of nearly all
                self.found_identical = self._reading.newest > self._settled_by
                return IDENTICAL
            decision = self.policy.decide(
                offered,
                existing,
                lambda: self._reading.digest(offered.name, offered.extra.partition(":")[0], tick),
            )
        except FileError as error:
            if error.code == Code.NOT_FOUND:  # it was removed before it could be compared
                return Decision(Choice.TAKE)
            return Decision(Choice.REFUSE, error.code, error.text)
        if offered.size >= self.room.left and offered.type == FILE and decision.choice in _WRITES:
            return self._if_there_is_room(offered, decision)
        if decision.choice is Choice.IDENTICAL:
            self.found_identical = self._reading.newest > self._settled_by
        if decision.choice is Choice.IDENTICAL and existing and offered.type == FOLDER:
            wanted = (offered.mode & ~system.umask(), offered.mtime)
            if (existing.mode, existing.mtime) != wanted:
                return Decision(Choice.TAKE)
        return decision

    def small(self, entry: Entry, data: bytes | memoryview) -> Staged:
        """Write a file whose bytes are all at hand and verified.

        Raises:
            FileError: if it cannot be written; nothing of it is left.

        """
        name = entry.name
        above, part = locate(name)
        folder = self.folders.known(above) or self._folder_of(name, above)
        if folder.direct:
            try:
                return self._written(Staged(self, folder, part, part, entry), data)
            except FileExistsError:
                pass  # the same name came before in this exchange
        folder = self._claimed(name, above)
        return self._written(Staged(self, folder, self.temporary(), part, entry), data)

    def _written(self, staged: Staged, data: bytes | memoryview) -> Staged:
        entry, name = staged.entry, staged.entry.name
        room = self.room
        room.left -= len(data) + BLOCK
        if room.left < 0:
            self._look(staged, len(data))
        try:
            fd = os.open(staged.temporary, _CREATE, entry.mode & 0o777, dir_fd=staged.folder.fd)
            try:
                done = os.write(fd, data)
                while done < len(data):
                    done += os.write(fd, data[done:])
                os.utime(fd, ns=(entry.mtime, entry.mtime))
                if self.flushes:
                    self.flush(fd)
            finally:
                os.close(fd)
        except FileExistsError:
            staged.release()
            raise
        except OSError as error:
            staged.discard()
            raise FileError.from_os(error, name) from error
        except UnicodeEncodeError:
            staged.discard()
            raise FileError(Code.BAD_NAME, name, "this system cannot write the name") from None
        except OverflowError:
            staged.discard()
            raise FileError(Code.IO_ERROR, name, "its time is out of range") from None
        return staged

    def _look(self, staged: Staged, size: int) -> None:
        try:
            self.room.look(staged.folder.fd, staged.entry.name, size)
        except FileError:
            if staged.temporary == staged.part:  # another file may have that name
                staged.release()
            else:
                staged.discard()
            raise

    def begin(self, entry: Entry) -> Draft:
        """Begin a file.

        Args:
            entry: Name, permission bits, and the size if it is known, else 0.

        Raises:
            FileError: if it cannot be made, or there is no space for it.

        """
        name = entry.name
        above, part = locate(name)
        folder = self._claimed(name, above)
        reserved = self.room.reserve(folder.fd, name, entry.size, LARGE)
        temporary = self.temporary()
        try:
            fd = os.open(temporary, _CREATE, entry.mode & 0o777, dir_fd=folder.fd)
        except OSError as error:
            self.folder.reservations.add(-reserved)
            raise FileError.from_os(error, name) from error
        return self._draft(self._staged(folder, temporary, part, entry), fd, reserved)

    def link(self, entry: Entry) -> Staged:
        """Make a symbolic link; its target is in ``entry.extra``.

        Raises:
            FileError: if it cannot be made, or could lead out of the root.

        """
        above, part = locate(entry.name)
        if not names.link_stays_inside(entry.name, entry.extra):
            raise FileError(
                Code.DENIED, entry.name, "the link leads out of the folder and is not made"
            )
        folder = self._claimed(entry.name, above)
        staged = self._staged(folder, self.temporary(), part, entry)
        try:
            os.symlink(entry.extra, staged.temporary, dir_fd=folder.fd)
            times = (entry.mtime, entry.mtime)
            os.utime(staged.temporary, ns=times, dir_fd=folder.fd, follow_symlinks=False)
        except OSError as error:
            staged.discard()
            raise FileError.from_os(error, entry.name) from error
        return staged

    def make_folder(self, entry: Entry, *, is_shared: bool = False) -> FolderFinish:
        """Make a folder, if it is missing; its mode and time come last.

        Args:
            entry: What it shall be.
            is_shared: Whether others fill it at the same time, so that it must not be hidden.

        Raises:
            FileError: if it cannot be made, or something else has the name.

        """
        hidden = ""
        if entry.name:
            above, _ = locate(entry.name)
            is_direct = self._folder_of(entry.name, above).direct
            if self._hides and not is_shared:
                hidden = self.temporary()
                if not is_direct:
                    self._claimed(entry.name, above)
        folder = self.folders.make(entry.name, entry.mode & 0o777 | 0o700, hidden)
        if folder.direct:
            self._direct.append(folder)
        return FolderFinish(folder, entry, may_change_mode=self.policy.replaces)

    def seal(self) -> None:
        """Let no more files be written under their own names into folders that are hidden now.

        The folders are about to be revealed with what is in them, so nothing may come in that
        the flush before does not cover.
        """
        for folder in self._direct:
            folder.direct = False
        self._direct.clear()

    def flush(self, descriptor: int) -> None:
        """Make one file durable."""
        self.folder.flush(descriptor)

    def flush_folder(self, descriptor: int) -> None:
        """Make the names in a folder durable."""
        self.folder.flush_folder(descriptor)

    def flush_failed(self, error: OSError) -> FileError:
        """Note that the disk lost something; return what to say of what the flush was for."""
        return self.folder.fault.note(error)

    def place(self) -> tuple[Directory, int]:
        """Return the folder of it all, and its descriptor."""
        root = self.folders.get("")
        return root, root.fd

    def digest(self, name: str, algorithm: str) -> str:
        """Return the digest of what is there."""
        return self._reading.digest(name, algorithm, _no_tick)

    def _staged(self, folder: Directory, temporary: str, part: str, entry: Entry) -> Staged:
        return Staged(self, folder, temporary, part, entry)

    def _draft(self, staged: Staged, fd: int, reserved: int) -> Draft:
        return Draft(self, staged, fd, reserved)

    def _folder_of(self, name: str, above: str) -> Directory:
        """Return the folder *above*; if that fails, it is *name* that fails."""
        try:
            return self.folders.get(above)
        except FileError as error:
            where = f"{names.shown(error.name)}: " if error.name != name else ""
            raise FileError(error.code, name, where + error.text) from None

    def _claimed(self, name: str, above: str) -> Directory:
        folder = self._folder_of(name, above)
        if not folder.claimed:
            if not folder.made and self.folder.is_first_visit(folder.fd):
                folder.sweep()
            folder.claim()
        return folder

    def temporary(self) -> str:
        """Return a temporary name that nothing has."""
        self._count += 1
        return f"{self._prefix}{self._count:08x}.part"

    def _if_there_is_room(self, offered: Entry, decision: Decision) -> Decision:
        try:
            self.room.look(self.folder.fd, offered.name, offered.size)
        except FileError as error:
            return Decision(Choice.REFUSE, error.code, error.text)
        return decision


def _no_tick() -> None:
    pass
