"""Writing into a folder within limits: the most bytes of one file, and of all files together.

What is stored is promised to the account of the folder before its first byte, or, where the size
is not known, before each piece of it. Folders that are new are not hidden here.

This module must not know whose the limits are.
"""

from __future__ import annotations

import os
import stat

from filexfer.entry import FILE
from filexfer.errors import Code, FileError
from filexfer.storage.directories import locate
from filexfer.storage.draft import Draft
from filexfer.storage.policy import Choice, Decision
from filexfer.storage.staged import Result, Staged
from filexfer.storage.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.entry import Entry
    from filexfer.storage.directory import Directory
    from filexfer.storage.folder import Folder
    from filexfer.storage.policy import Policy
    from filexfer.storage.quotas import Account

_STORES = (Choice.TAKE, Choice.REPLACE, Choice.KEEP_BOTH)


class Allowance:
    """What may be stored.

    Args:
        file_max: Bytes of one file; None for no limit.
        quota: Bytes of all files below the folder; None for no limit.
        account: Counts them, if there is a quota.

    """

    def __init__(
        self,
        file_max: int | None = None,
        quota: int | None = None,
        account: Account | None = None,
    ) -> None:
        self.file_max = file_max
        self.quota = quota or 0
        self.account = account if quota is not None else None

    def check_size(self, name: str, size: int) -> None:
        """Raise FileError if one file may not have so many bytes."""
        if self.file_max is not None and size > self.file_max:
            text = f"larger than the {self.file_max} bytes that one file may have"
            raise FileError(Code.TOO_LARGE, name, text)

    def check(self, name: str, size: int, replaced: int = 0) -> None:
        """Raise FileError if a file could not be stored now.

        Args:
            name: Of the file.
            size: Its bytes.
            replaced: Bytes of what it would replace.

        """
        self.check_size(name, size)
        if self.account and not self.account.fits(max(0, size - replaced), self.quota):
            raise over_quota(name)


class Charge:
    """What one file that is under way takes of the quota; is closed once.

    Args:
        limits: What may be stored.

    """

    __slots__ = ("_credit", "_limits", "_promised")

    def __init__(self, limits: Allowance) -> None:
        self._limits = limits
        self._promised = 0
        self._credit = 0

    @property
    def counts_on_replacing(self) -> bool:
        """Whether less was promised than the file has."""
        return self._credit > 0

    def need(self, name: str, size: int, credit: int = 0) -> None:
        """Make sure that the file may have so many bytes.

        Args:
            name: Of the file.
            size: Bytes, from its beginning.
            credit: Bytes of what it will replace.

        Raises:
            FileError: if it may not.

        """
        limits = self._limits
        limits.check_size(name, size)
        missing = size - self._promised - self._credit
        if limits.account and missing > 0:
            found = limits.account.promise(missing, limits.quota, min(credit, missing))
            if found is None:
                raise over_quota(name)
            self._promised += found[0]
            self._credit += found[1]

    def need_all(self, name: str) -> None:
        """Promise also what was to take the place of something: there is nothing to replace.

        Raises:
            FileError: if that is too much.

        """
        limits = self._limits
        if limits.account and self._credit:
            found = limits.account.promise(self._credit, limits.quota)
            if found is None:
                raise over_quota(name)
            limits.account.give_back(0, self._credit)
            self._promised += found[0]
            self._credit = 0

    def replace(
        self, name: str, size: int, there: Callable[[], int], rename: Callable[[], object]
    ) -> None:
        """Let the file take the place of another, whose bytes are given back, and close.

        Raises:
            FileError: if there is no room for it after all.

        """
        limits = self._limits
        if not limits.account:
            rename()
            return
        charge = (self._promised, self._credit, size)
        if not limits.account.replace(charge, limits.quota, there, rename):
            raise over_quota(name)
        self._promised = self._credit = 0

    def close(self, stored: int = 0) -> None:
        """Give back what was promised; so many bytes are there now. Harmless when closed."""
        if self._promised or self._credit:
            assert self._limits.account  # noqa: S101 - it was promised there
            self._limits.account.give_back(self._promised, self._credit, stored)
            self._promised = self._credit = 0


class Limited(Staging):
    """The receiving end of one exchange, within limits.

    Args:
        folder: Where everything goes.
        policy: What to do with names that are taken.
        durability: ``none``, ``batch`` or ``file``.
        limits: What may be stored.

    """

    def __init__(self, folder: Folder, policy: Policy, durability: str, limits: Allowance) -> None:
        super().__init__(folder, policy, durability)
        self.limits = limits
        self._hides = False

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say what would happen to *offered*, without doing it."""
        decision = super().judge(offered, tick)
        if offered.type == FILE and decision.choice in _STORES:
            try:
                self.limits.check(offered.name, offered.size, self._replaced_by(offered))
            except FileError as error:
                return Decision(Choice.REFUSE, error.code, error.text)
        return decision

    def small(self, entry: Entry, data: bytes | memoryview) -> Staged:
        """Write a file whose bytes are all at hand and verified."""
        self.limits.check_size(entry.name, len(data))
        above, part = locate(entry.name)
        folder = self._claimed(entry.name, above)
        staged = self._staged(folder, self.temporary(), part, entry)
        try:
            self._charge(staged, len(data))
        except BaseException:
            staged.discard()
            raise
        return self._written(staged, data)

    def begin(self, entry: Entry) -> Draft:
        """Begin a file."""
        self.limits.check_size(entry.name, entry.size)
        draft = super().begin(entry)
        try:
            self._charge(draft.staged, entry.size)
        except BaseException:
            draft.discard()
            raise
        return draft

    def _charge(self, staged: Staged, size: int) -> None:
        """Have so many bytes promised for a file; FileError if it may not have them."""
        assert isinstance(staged, Charged)  # noqa: S101 - as _staged makes all of them
        staged.charge.need(staged.entry.name, size, self._replaced_by(staged.entry))

    def _replaced_by(self, entry: Entry) -> int:
        """Return the bytes of what a file would replace."""
        if not (self.limits.account and self.policy.replaces):
            return 0
        existing = self.find(entry.name)
        return existing.size if existing else 0

    def _staged(self, folder: Directory, temporary: str, part: str, entry: Entry) -> Staged:
        return Charged(self, folder, temporary, part, entry, Charge(self.limits))

    def _draft(self, staged: Staged, fd: int, reserved: int) -> Draft:
        return _Draft(self, staged, fd, reserved)


class _Draft(Draft):
    """A file being written, within limits."""

    __slots__ = ()

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; FileError also if it would be too much."""
        self._need(len(data))
        super().write(data)

    def skip(self, size: int) -> None:
        """Append *size* zero bytes as a hole; they count as others do."""
        self._need(size)
        super().skip(size)

    def _need(self, more: int) -> None:
        assert isinstance(self.staged, Charged)  # noqa: S101 - as Limited makes all of them
        self.staged.charge.need(self.staged.entry.name, self._at + more)


class Charged(Staged):
    """A file or a link under a temporary name, whose bytes were promised.

    Args:
        staging: Where it came in; has the policy.
        folder: Where it lies.
        temporary: Its name there.
        part: The name it shall have.
        entry: What it is.
        charge: What was promised for it.

    """

    __slots__ = ("charge",)

    def __init__(
        self,
        staging: Limited,
        folder: Directory,
        temporary: str,
        part: str,
        entry: Entry,
        charge: Charge,
    ) -> None:
        super().__init__(staging, folder, temporary, part, entry)
        self.charge = charge

    def publish(self) -> Result:
        """Let it take its place, and count it."""
        try:
            result = super().publish()
            is_there = result.choice in _STORES and result.choice is not Choice.REPLACE
            self.charge.close(self.entry.size if is_there else 0)
        finally:
            self.charge.close()
        return result

    def discard(self) -> None:
        """Remove it; nothing is promised any more."""
        super().discard()
        self.charge.close()

    def _rename(self) -> Result:
        # What was promised for it may be enough only if it replaces something.
        return self._where_taken() if self.charge.counts_on_replacing else super()._rename()

    def _take(self) -> None:
        self.charge.need_all(self.entry.name)
        super()._take()

    def _replace(self) -> None:
        self.charge.replace(self.entry.name, self.entry.size, self._bytes_there, super()._replace)

    def _bytes_there(self) -> int:
        try:
            status = os.stat(self.part, dir_fd=self.folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0


def over_quota(name: str) -> FileError:
    """Return the failure of a file that does not fit."""
    return FileError(Code.QUOTA, name, "does not fit into the quota")
