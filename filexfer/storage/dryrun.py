"""What a folder would do with what is offered, all of it taken together; nothing is written.

Beyond the decision about each name by itself, which a transfer asks for too, this sums up what
would be stored, and holds the sum against free space and quota; looks whether the folders can be
written in; and finds names that would collide with one another.

This module must not know who asks, or what becomes of the answers.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from filexfer import names
from filexfer.entry import FILE, FOLDER, LINK
from filexfer.errors import Code, FileError, LocalError
from filexfer.storage import reservations, spelling
from filexfer.storage.directories import Directories
from filexfer.storage.dropbox import check
from filexfer.storage.folder import Folder, names_checked
from filexfer.storage.limited import Allowance, over_quota
from filexfer.storage.policy import Choice, Decision, Policy
from filexfer.storage.room import BLOCK, no_space
from filexfer.storage.staged import other_spelling
from filexfer.storage.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.entry import Entry
    from filexfer.storage.directory import Directory
    from filexfer.storage.room import Bounds

_STORES = (Choice.TAKE, Choice.REPLACE, Choice.KEEP_BOTH)
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAY_ASK = os.access in os.supports_effective_ids
_SAME = "is offered twice"
_ELSEWHERE = "differs from another name only in capitals or accents"
_HERE = "this file system takes it for another name that is offered"


class DryRun(Staging):
    """The receiving end of an exchange in which nothing comes.

    Args:
        folder: Where everything would go.
        policy: What to do with names that are taken.
        limits: What may be stored.
        may_list: Whether names may be known that were not offered.
        is_missing: Whether everything would go into a folder below that, which is not there yet.

    """

    def __init__(
        self,
        folder: Folder,
        policy: Policy,
        limits: Allowance | None = None,
        *,
        may_list: bool = True,
        is_missing: bool = False,
    ) -> None:
        super().__init__(folder, policy, "none")
        self._limits = limits or Allowance()
        self._is_missing = is_missing
        self._places = _Places(folder)
        self._space = _Space(folder)
        self._stored = 0  # bytes of the quota
        self._too_much = 0  # bytes that it has no room for; 0: not known
        self._folds = spelling.folds(folder.fd, folder.path)
        # Where the file system folds names, it finds those that exist by itself.
        looks = may_list and not is_missing and not self._folds
        self._spellings = spelling.Spellings(self._places.listing if looks else _no_names)

    def __exit__(self, *exc: object) -> None:
        self._places.close()
        super().__exit__(*exc)

    def find(self, name: str) -> Entry | None:
        """Return what has the name now."""
        if self._is_missing or self._places.lack(name.rpartition("/")[0]):
            names_checked(name)
            return None
        return super().find(name)

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say what would happen to *offered*, after all that was judged before.

        Returns:
            The decision. One to store it may have a code and a text too: what may go wrong
            on other systems.

        """
        decision = super().judge(offered, tick)
        if decision.choice is Choice.REFUSE:
            return decision
        is_first = offered.type != FILE or not offered.extra
        if is_first and (collision := self._spellings.add(offered.name)):
            decision = self._collided(offered, decision, collision)
        if decision.choice not in _STORES:
            return decision
        try:
            existing = self.find(offered.name)
            if decision.choice is Choice.KEEP_BOTH:
                return self._beside(offered, existing, tick, decision)
            self._check(offered, existing)
        except FileError as error:
            return Decision(Choice.REFUSE, error.code, error.text)
        return decision

    def _collided(self, offered: Entry, decision: Decision, collision: str) -> Decision:
        """Decide about what would come under the same name as something before it."""
        is_same, is_folder = collision == "same", offered.type == FOLDER
        if decision.choice not in _STORES or (is_same and is_folder):
            return decision
        if not is_same and not self._folds:
            return Decision(decision.choice, Code.EXISTS, _ELSEWHERE)
        if decision.choice is not Choice.TAKE:  # what is there already has decided
            return decision
        wish = self.policy.if_exists
        if wish == "skip" and not is_folder:
            return Decision(Choice.SKIP)
        if (wish == "keep-both" and offered.type == FILE) or (is_same and self.policy.replaces):
            return decision
        return Decision(Choice.REFUSE, Code.EXISTS, _SAME if is_same else _HERE)

    def _beside(
        self,
        offered: Entry,
        existing: Entry | None,
        tick: Callable[[], object],
        decision: Decision,
    ) -> Decision:
        """Decide about what would get a name that is derived from its contents."""
        if offered.type == LINK:
            return Decision(Choice.REFUSE, Code.EXISTS, "exists and differs")
        if existing and self.policy.may_read:
            if not offered.extra:
                return Decision(Choice.WANT_DIGEST)
            above, _, part = offered.name.rpartition("/")
            name = names.join(above, names.derived(part, offered.extra))
            if self.find(name):
                algorithm = offered.extra.partition(":")[0]
                if self._reading.digest(name, algorithm, tick) == offered.extra:
                    return Decision(Choice.IDENTICAL)
                text = f"{names.shown(name.rpartition('/')[2])} exists and differs"
                return Decision(Choice.REFUSE, Code.EXISTS, text)
        self._check(offered, None)
        return decision

    def _check(self, offered: Entry, existing: Entry | None) -> None:
        """Raise FileError if it could not be stored; else count it as stored."""
        name = "" if self._is_missing else offered.name
        if offered.type == FOLDER:
            if existing:
                self._places.check_owner(name)
            else:
                self._places.check(name)
            return
        fd, device = self._places.check(name)
        if offered.type == LINK:
            if not names.link_stays_inside(offered.name, offered.extra):
                text = "the link leads out of the folder and is not made"
                raise FileError(Code.DENIED, offered.name, text)
            return
        if existing and self._folds:
            self._check_spelling(fd, name)
        replaced = existing.size if existing else 0
        self._limits.check_size(name, offered.size)
        self._check_quota(offered.name, offered.size, replaced)
        self._space.take(fd, device, offered.name, offered.size, replaced)
        self._stored += offered.size - replaced

    def _check_spelling(self, folder: int, name: str) -> None:
        """Raise FileError if what would be replaced has another name."""
        part = name.rpartition("/")[2]
        try:
            fd = os.open(part, _OPEN, dir_fd=folder)
        except OSError:
            return  # a link, or unreadable
        try:
            other = other_spelling(fd, part)
        finally:
            os.close(fd)
        if other:
            text = f"{names.shown(other)} exists, and this file system takes the names for one"
            raise FileError(Code.EXISTS, name, text)

    def _check_quota(self, name: str, size: int, replaced: int) -> None:
        account = self._limits.account
        if not account:
            return
        needed = self._stored + max(0, size - replaced)
        if self._too_much and needed >= self._too_much:
            raise over_quota(name)
        if not account.fits(max(0, needed), self._limits.quota, sweep=False):
            self._too_much = needed
            raise over_quota(name)


class DropBoxDryRun(Staging):
    """The same for who may not learn what is there: whatever could ever be wanted, is.

    No sums are made: of what is there already, nothing would be stored again.

    Args:
        folder: Where everything would go.
        limits: What may be stored.

    """

    def __init__(self, folder: Folder, limits: Allowance) -> None:
        super().__init__(folder, Policy("keep-both", may_overwrite=False, may_read=False), "none")
        self._limits = limits

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say that it is wanted, unless it never could be."""
        del tick
        limits = self._limits
        try:
            check(offered.name)
            if offered.type == FILE:
                limits.check_size(offered.name, offered.size)
                if limits.account and not limits.account.fits(
                    offered.size, limits.quota, sweep=False
                ):
                    raise over_quota(offered.name)
        except FileError as error:
            return Decision(Choice.REFUSE, error.code, error.text)
        return Decision(Choice.KEEP_BOTH)


class _Places:
    """The folders that things would be written in: the nearest that are there already."""

    def __init__(self, folder: Folder) -> None:
        self._folders = Directories(folder.fd)
        self._above: str | None = None  # what the following is of
        self._nearest = self._folders.get("")
        self._nearest.users += 1
        self._lacks = False  # whether it is a folder above that
        self._device = 0
        self._is_writable = False

    def close(self) -> None:
        self._folders.close()

    def check(self, name: str) -> tuple[int, int]:
        """Return the descriptor and the device of the folder in which *name* would be made.

        Raises:
            FileError: if nothing can be made there.

        """
        above = name.rpartition("/")[0]
        if above != self._above:
            found = self._find(above)
            found.users += 1  # opening others must not close it
            self._nearest.users -= 1
            self._above, self._nearest = above, found
            self._lacks = found.name != above
            self._device = os.fstat(found.fd).st_dev
            self._is_writable = _is_writable(found.fd)
        if not self._is_writable:
            raise FileError(Code.DENIED, name, "permission denied")
        return self._nearest.fd, self._device

    def lack(self, folder: str) -> bool:
        """Tell whether a folder is known to be missing: the one that was asked about last."""
        return self._lacks and folder == self._above

    def check_owner(self, name: str) -> None:
        """Raise FileError if the time of the folder *name* could not be set."""
        owner = os.fstat(self._folders.get(name).fd).st_uid
        if os.geteuid() not in (0, owner):
            raise FileError(Code.DENIED, name, "operation not permitted")

    def listing(self, folder: str) -> Iterator[str]:
        """Yield the names of what is in a folder, if it is there."""
        try:
            with os.scandir(self._folders.get(folder).fd) as found:
                yield from (each.name for each in found if not names.is_reserved(each.name))
        except (FileError, OSError):
            pass  # what cannot be looked at cannot be told

    def _find(self, name: str) -> Directory:
        while True:
            try:
                return self._folders.get(name)
            except FileError as error:
                if error.code != Code.NOT_FOUND:
                    raise
            name = name.rpartition("/")[0]


class _Space:
    """The free space of the file systems below a folder."""

    def __init__(self, folder: Folder) -> None:
        self._bounds: Bounds = folder.bounds
        self._promised = folder.reservations
        self._spare: dict[int, tuple[int, int]] = {}  # bytes, and those kept free, by device

    def take(self, fd: int, device: int, name: str, size: int, replaced: int) -> None:
        """Take the space of a file; that of what it replaces is free again afterwards.

        Raises:
            FileError: if there is not so much.

        """
        if device not in self._spare:
            kept = self._bounds.kept(fd)
            free = reservations.free_bytes(fd) - self._promised.total()
            self._spare[device] = free - kept, kept
        spare, kept = self._spare[device]
        if size > spare:
            raise FileError(Code.NO_SPACE, name, no_space(kept))
        self._spare[device] = spare - _on_disk(size) + _on_disk(replaced), kept


@contextmanager
def nearest(path: str) -> Iterator[tuple[Folder, bool]]:
    """Open a folder, or if it is missing, the nearest above it; yield also whether it is missing.

    Raises:
        LocalError: if it cannot be opened, or could not be made.

    """
    whole = there = os.path.abspath(path)
    while not os.path.lexists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    with Folder(there) as folder:
        is_missing = there != whole
        if is_missing and not _is_writable(folder.fd):
            text = f"cannot use the folder {names.shown(whole)}: Permission denied"
            raise LocalError(text)
        yield folder, is_missing


def _is_writable(fd: int) -> bool:
    return os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=_MAY_ASK)


def _no_names(_: str) -> tuple[str, ...]:
    return ()


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
