"""How many bytes lie below a folder and are on their way into it, for all workers together.

The truth is the disk: the bytes of all regular files below the folder are counted when they are
first needed, again when they were counted a minute ago, and before anything is refused; between
two counts, what is stored is added. What is under way is promised beforehand, so that many who
store at once stay below the limit together. Files that others put there count from the next count
on. Of a temporary file that a killed process left behind, a count removes what it can, and adds
the rest.

The numbers lie in memory that a server's workers share. Each worker has its own slot for what it
promised, which its successor clears; one lock that ends with its holder guards each change.

This module must not know who stores, or why there is a limit.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from _thread import allocate_lock
from mmap import mmap
from time import monotonic, thread_time

from filexfer import names
from filexfer.storage.directory import FLAGS, Directory
from filexfer.storage.reservations import SLOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

ACCOUNTS_MAX = 1024  # folders that have one
COUNT_AGAIN = 60.0  # seconds
_SHARE = 20  # counting takes at most the twentieth part of the time ...
_PRESSING = 4  # ... or the fourth, before something is refused
_CHEAP = 0.05  # seconds of work; a count that others disturbed is made again, if it is as cheap
_LEVELS_MAX = 256  # folders in folders; no client can make as many

_KEY = struct.Struct("QQ")  # device and inode of the folder
_USED = struct.Struct("qq")  # bytes that lie there, and all that was ever added
_WHEN = struct.Struct("ddq")  # last count: when, how long; whether it may be too high by now
_SLOT = struct.Struct("qq")  # promised, and promised in the place of what will be replaced
_USED_AT = _KEY.size
_WHEN_AT = _USED_AT + _USED.size
_SLOTS_AT = _WHEN_AT + _WHEN.size
_SIZE = _SLOTS_AT + SLOTS * _SLOT.size
_HEAD = struct.Struct("q")  # how many slots were ever used; stands before all accounts


class Quotas:
    """The accounts of a server; made before its workers are."""

    def __init__(self) -> None:
        self.memory = mmap(-1, _HEAD.size + ACCOUNTS_MAX * _SIZE)
        self.file = _nameless()  # kept for its locks, which end with a process
        self.lock = allocate_lock()
        self.counting = allocate_lock()
        self.slot = 0
        _HEAD.pack_into(self.memory, 0, 1)

    def close(self) -> None:
        """Give everything up."""
        os.close(self.file)
        self.memory.close()

    def use_slot(self, slot: int) -> None:
        """In a worker: promise in this slot, from 0 on; what a dead predecessor left is dropped."""
        self.slot = slot
        with _Locked(self, 0):
            _HEAD.pack_into(self.memory, 0, max(slot + 1, self.slots))
        for number in range(ACCOUNTS_MAX):
            at = _HEAD.size + number * _SIZE
            if _KEY.unpack_from(self.memory, at) == (0, 0):
                return
            with _Locked(self, 1 + number):
                _SLOT.pack_into(self.memory, at + _SLOTS_AT + slot * _SLOT.size, 0, 0)

    @property
    def slots(self) -> int:
        """How many slots were ever used."""
        found: int = _HEAD.unpack_from(self.memory, 0)[0]
        return found

    def account(self, folder: int) -> Account:
        """Return the account of the folder that is open as *folder*.

        Raises:
            OverflowError: if there are too many.

        """
        status = os.fstat(folder)
        key = (status.st_dev, status.st_ino)
        with _Locked(self, 0):
            for number in range(ACCOUNTS_MAX):
                at = _HEAD.size + number * _SIZE
                there = _KEY.unpack_from(self.memory, at)
                if there == (0, 0):
                    _KEY.pack_into(self.memory, at, *key)
                if there in (key, (0, 0)):
                    return Account(self, number, folder)
        raise OverflowError("too many folders with a quota")


class Account:
    """The bytes below one folder.

    Args:
        quotas: All accounts.
        number: Which of them.
        folder: Descriptor of the folder; stays the caller's.

    """

    def __init__(self, quotas: Quotas, number: int, folder: int) -> None:
        self._quotas = quotas
        self._memory = quotas.memory
        self._number = number
        self._at = _HEAD.size + number * _SIZE
        self._folder = folder

    def promise(
        self, size: int, limit: int, credit: int = 0, *, sweep: bool = True
    ) -> tuple[int, int] | None:
        """Promise *size* bytes, if that stays within the limit.

        Args:
            size: Bytes.
            limit: Bytes that there may be in all.
            credit: Of these, bytes that will take the place of others. All credit together stays
                below *limit*, so that not even what is under way takes more than twice of it.
            sweep: Whether a count may remove what dead processes left.

        Returns:
            What was promised, and how much of the credit was taken; None if it is too much.

        """
        if self._is_due():
            self.count(sweep=sweep)
        found = self._promise(size, limit, credit)
        if found is None and self._may_count(heed_removed=sweep):
            self.count(sweep=sweep)
            found = self._promise(size, limit, credit)
        return found

    def fits(self, size: int, limit: int, *, sweep: bool = True) -> bool:
        """Tell whether *size* bytes could be promised now; the arguments are as there."""
        found = self.promise(size, limit, sweep=sweep)
        if found:
            self.give_back(*found)
        return found is not None

    def give_back(self, promised: int, credit: int, stored: int = 0) -> None:
        """Give back a promise; so many bytes of it are there now."""
        with _Locked(self._quotas, 1 + self._number):
            self._settle(promised, credit, stored, 0)

    def replace(
        self,
        charge: tuple[int, int, int],
        limit: int,
        there: Callable[[], int],
        rename: Callable[[], object],
    ) -> bool:
        """Count a file that takes the place of another, while nobody else can do the same.

        Args:
            charge: What was promised for it, the credit, and its bytes.
            limit: Bytes that there may be in all.
            there: Returns the bytes of what it replaces.
            rename: Does it.

        Returns:
            Whether there was room for it; if not, nothing was done.

        """
        promised, credit, size = charge
        with _Locked(self._quotas, 1 + self._number):
            before = there()
            all_promised, _ = self._promised()
            if self._used()[0] - before + size + all_promised - promised > limit:
                return False
            rename()
            self._settle(promised, credit, size, before)
            return True

    def note_removed(self) -> None:
        """Note that something was removed: before anything is refused, count again."""
        with _Locked(self._quotas, 1 + self._number):
            when, took, _ = self._when()
            _WHEN.pack_into(self._memory, self._at + _WHEN_AT, when, took, 1)

    def used(self) -> tuple[int, int]:
        """Return the bytes that are there, as far as that is known, and those promised."""
        with _Locked(self._quotas, 1 + self._number):
            promised, _ = self._promised()
            return self._used()[0], promised

    def count(self, *, sweep: bool = True) -> None:
        """Count what lies there; where others are doing so already, take over their count."""
        asked = monotonic()
        with _Locked(self._quotas, 1 + ACCOUNTS_MAX + self._number, self._quotas.counting):
            mine = 1 + self._number
            with _Locked(self._quotas, mine):
                when, took, removed = self._when()
                if when >= asked and not removed:
                    return
                _WHEN.pack_into(self._memory, self._at + _WHEN_AT, when, took, 0)
                before, promised_before = self._used()[1], sum(self._promised())
            began, busy = monotonic(), thread_time()
            published, temporary = counted(self._folder, sweep=sweep)
            took, busy = monotonic() - began, thread_time() - busy
            with _Locked(self._quotas, mine):
                added = self._used()[1]
                # What was stored meanwhile may have been seen or not; what is under way was
                # promised, so that only other temporary files are added.
                promised_after = sum(self._promised())
                promised = max(promised_before, promised_after)
                used = published + added - before + max(0, temporary - promised)
                _USED.pack_into(self._memory, self._at + _USED_AT, used, added)
                is_sure = added == before and promised_after == promised_before
                again = self._when()[2] or (not is_sure and busy < _CHEAP)
                again = again or (not sweep and temporary > 0)  # which a sweep may remove
                _WHEN.pack_into(self._memory, self._at + _WHEN_AT, monotonic(), took, again)

    def _is_due(self) -> bool:
        when, took, _ = self._when()
        return not when or monotonic() - when > max(COUNT_AGAIN, _SHARE * took)

    def _may_count(self, *, heed_removed: bool) -> bool:
        when, took, removed = self._when()
        return (bool(removed) and heed_removed) or monotonic() - when > _PRESSING * took

    def _promise(self, size: int, limit: int, credit: int) -> tuple[int, int] | None:
        with _Locked(self._quotas, 1 + self._number):
            promised, credited = self._promised()
            credit = max(0, min(credit, limit - credited))
            if self._used()[0] + promised + size - credit > limit:
                return None
            self._change(size - credit, credit)
            return size - credit, credit

    def _settle(self, promised: int, credit: int, stored: int, replaced: int) -> None:
        """Take back a promise; *stored* bytes are there now in the place of *replaced* ones.

        If the process is killed on the way, rather too much is counted than too little.
        """
        if stored or replaced:
            used, added = self._used()
            _USED.pack_into(
                self._memory, self._at + _USED_AT, used + stored - replaced, added + stored
            )
        self._change(-promised, -credit)

    def _change(self, promised: int, credit: int) -> None:
        at = self._at + _SLOTS_AT + self._quotas.slot * _SLOT.size
        now_promised, now_credit = _SLOT.unpack_from(self._memory, at)
        _SLOT.pack_into(
            self._memory, at, max(0, now_promised + promised), max(0, now_credit + credit)
        )

    def _promised(self) -> tuple[int, int]:
        """Return what all workers have promised, and the credit."""
        promised = credit = 0
        at = self._at + _SLOTS_AT
        for slot in range(self._quotas.slots):
            one, other = _SLOT.unpack_from(self._memory, at + slot * _SLOT.size)
            promised += one
            credit += other
        return promised, credit

    def _used(self) -> tuple[int, int]:
        found: tuple[int, int] = _USED.unpack_from(self._memory, self._at + _USED_AT)
        return found

    def _when(self) -> tuple[float, float, int]:
        found: tuple[float, float, int] = _WHEN.unpack_from(self._memory, self._at + _WHEN_AT)
        return found


class _Locked:
    """One of the locks, against the threads of this process and against other processes."""

    __slots__ = ("_file", "_lock", "_number")

    def __init__(self, quotas: Quotas, number: int, lock: LockType | None = None) -> None:
        self._file = quotas.file
        self._lock = lock or quotas.lock
        self._number = number

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._number)
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *exc: object) -> None:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._number)
        finally:
            self._lock.release()


def _nameless() -> int:
    """Return the descriptor of an empty file that has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("filexfer-quotas")
    from tempfile import TemporaryFile  # noqa: PLC0415 - where the system has no better

    with TemporaryFile() as file:
        return os.dup(file.fileno())


def counted(folder: int, *, sweep: bool = True) -> tuple[int, int]:
    """Return the bytes of all regular files below a folder, and those of temporary files.

    With *sweep*, temporary files that nobody has a claim on are removed. What cannot be looked at
    is left out.
    """
    levels: list[tuple[int, list[str]]] = []
    total = temporary = 0
    fd = os.open(".", FLAGS, dir_fd=folder)
    try:
        while True:
            below: list[str] = []
            levels.append((fd, below))
            ours = _scan(fd, below, sweep=sweep)
            total += ours[0]
            temporary += ours[1]
            fd = -1
            while fd < 0:
                above, names_left = levels[-1]
                if not names_left or len(levels) > _LEVELS_MAX:
                    os.close(levels.pop()[0])
                    if not levels:
                        return total, temporary
                    continue
                try:
                    fd = os.open(names_left.pop(), FLAGS, dir_fd=above)
                except OSError:
                    continue  # gone, or not for us
    finally:
        for each, _ in levels:
            os.close(each)


def _scan(fd: int, below: list[str], *, sweep: bool) -> tuple[int, int]:
    """Return the bytes of the files in one folder, and those of temporary ones; add its folders."""
    total = 0
    temporary: list[str] = []
    try:
        with os.scandir(fd) as found:
            for each in found:
                try:
                    is_folder = each.is_dir(follow_symlinks=False)
                    if is_folder:
                        below.append(each.name)
                    if names.is_reserved(each.name):
                        temporary.append(each.name)
                    elif not is_folder:
                        total += _size(os.stat(each.name, dir_fd=fd, follow_symlinks=False))
                except OSError:
                    continue  # gone meanwhile
    except OSError:
        return total, 0
    if temporary and sweep:
        Directory("", fd, made=False).sweep()
    left = 0
    for name in temporary:
        try:
            left += _size(os.stat(name, dir_fd=fd, follow_symlinks=False))
        except OSError:
            continue  # swept, or published
    return total, left


def _size(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
