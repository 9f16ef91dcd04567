"""Makes staged items appear under their names, as durably as was promised.

``none``    each is renamed as soon as it is complete; the kernel writes it out when it likes.
``file``    each was flushed before; it is renamed and its folder flushed.
``batch``   group commit. Items gather under their temporary names; one flush of the file system
            makes the contents of a group durable; then they are renamed; the next flush makes
            their names durable; then they are settled. Flush k serves the contents of group k and
            the names of group k-1, so there is one flush a group:

    group 1:  gather | flush | rename |  flush  | settled
    group 2:          gather          | (same)  | rename | flush | settled

            A flush runs in a thread of its own while the next group is gathered. So even after
            a power cut a name holds a whole file, old or new, and a settled file is there.

Where a file system cannot be flushed as a whole, each file is flushed when it is written, and each
folder in place of the second flush.

A flush that failed is never tried again (the kernel may have dropped the data and call the next
one a success): what it covered is reported as failed, and nothing more is taken.

This module must not know the network.
"""

from __future__ import annotations

import os
import threading
from itertools import chain
from time import monotonic

from filexfer.errors import FileError, LocalError
from filexfer.storage import system
from filexfer.storage.staged import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from filexfer.storage.contract import Item, Target

GROUP_ITEMS = 4096
GROUP_FOLDERS = 128  # at most; they stay open until their files are published
GROUP_SECONDS = 1.0


class Publisher:
    """Takes staged items in order and settles them in order; for one thread.

    Args:
        staging: Where the items come from; says the durability.
        settle: Is called with items and what became of each.
        tick: Is called about once a second while a flush is waited for.

    """

    def __init__(
        self,
        staging: Target,
        settle: Callable[[list[tuple[Item, Result]]], object],
        tick: Callable[[], object],
    ) -> None:
        self._staging = staging
        self._settle = settle
        self._tick = tick
        self._grouped = staging.durability == "batch"
        self._folders_max = system.share_of_descriptors(GROUP_FOLDERS)
        self._gathering: list[Item] = []
        self._began = 0.0  # when the first item of the group came
        self._folders_most = 0  # how many folders may have been opened when it is closed
        self._flushing: list[Item] = []
        self._named: list[tuple[Item, Result]] = []
        self._flush: _Flush | None = None
        self._broken: FileError | None = None

    def add(self, item: Item) -> None:
        """Take an item; it may be settled before this returns."""
        if self._broken:
            self._fail([item], self._broken)
        elif not self._grouped:
            result = item.publish()
            item.release()
            self._settle([(item, result)])
        else:
            gathering = self._gathering
            if not gathering:
                self._began = monotonic()
                self._folders_most = self._staging.folders_opened + self._folders_max
            gathering.append(item)
            is_full = len(gathering) >= GROUP_ITEMS
            if is_full or self._staging.folders_opened > self._folders_most:
                self.advance(close_group=True, wait=self._flush is not None)

    @property
    def first_unsettled(self) -> int:
        """The number of the first item that is not settled, or 0 if all are.

        Items numbered 0 (folders that are finished) do not count.
        """
        for item in chain((item for item, _ in self._named), self._flushing, self._gathering):
            if item.number:
                return item.number
        return 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is gathered or being flushed."""
        return not (self._gathering or self._flushing or self._named)

    @property
    def patience(self) -> float | None:
        """Seconds after which ``advance`` should be called again; None if nothing is to be done."""
        if self._flush:
            return 0.05
        if self._gathering:
            return max(0.0, self._began + GROUP_SECONDS - monotonic())
        return None

    def advance(self, *, close_group: bool = False, wait: bool = False) -> None:
        """Go on with whatever is possible now.

        Args:
            close_group: Do not let the group gather any longer.
            wait: Wait for a flush that is under way.

        """
        if self._flush and wait:
            self.wait_for_flush()
        if self._flush and self._flush.is_over:
            self._after_flush(self._flush)
        due = self._gathering and (close_group or monotonic() >= self._began + GROUP_SECONDS)
        if not self._flush and (due or (self._named and close_group)):
            self._staging.seal()
            self._staging.found_identical = False  # the flush is for them too
            self._flushing, self._gathering = self._gathering, []
            self._flush = _Flush([*self._flushing, *(item for item, _ in self._named)])

    def wait_for_flush(self) -> None:
        """Wait until the flush that is under way is over."""
        while self._flush and not self._flush.wait(1.0):
            self._tick()

    def finish(self) -> None:
        """Settle everything."""
        while not self.is_idle:
            self.advance(close_group=True, wait=True)

    def settle_identical(self) -> None:
        """When all is settled: make durable what was found to be there, if it may not be.

        Where a file system cannot be flushed as a whole, it is left as it is.

        Raises:
            LocalError: if the disk fails.

        """
        staging = self._staging
        may_flush = staging.durability != "none" and system.has_file_system_flush()
        if not staging.found_identical or not may_flush or self._broken:
            return
        staging.found_identical = False
        flush = self._flush = _Flush([staging])
        self.wait_for_flush()
        self._flush = None
        if error := flush.join():
            raise LocalError(staging.flush_failed(error).text)

    def _after_flush(self, flush: _Flush) -> None:
        error = flush.join()
        self._flush = None
        named, self._named = self._named, []  # their folders were needed for this flush
        flushed, self._flushing = self._flushing, []
        if error:
            self._broken = self._staging.flush_failed(error)
            for item, _ in named:  # published, but perhaps not for good
                item.release()
            self._settle([(item, _failed(item, self._broken)) for item, _ in named])
            self._fail([*flushed, *self._gathering], self._broken)
            self._gathering = []
            return
        for item, _ in named:
            item.release()
        self._settle(named)
        self._named = [(item, item.publish()) for item in flushed]

    def _fail(self, items: list[Item], error: FileError) -> None:
        for item in items:
            item.discard()
        self._settle([(item, _failed(item, error)) for item in items])


class _Flush:
    """One flush, in a thread of its own: the file systems of all folders that the items lie in."""

    def __init__(self, items: Sequence[Item | Target]) -> None:
        self._error: OSError | None = None
        self._items = items
        self._thread = threading.Thread(target=self._run, name="filexfer-flush", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait; return whether it is over."""
        self._thread.join(seconds)
        return self.is_over

    def join(self) -> OSError | None:
        """Wait until it is over; return the error if the disk failed."""
        self._thread.join()
        return self._error

    def _run(self) -> None:
        try:
            places = dict(place for item in self._items if (place := item.place()))
            if system.has_file_system_flush():
                # A descriptor tells of failures since it was opened: the first one, of them all.
                first = {os.fstat(fd).st_dev: fd for fd in reversed(places.values())}
                for fd in first.values():
                    system.flush_file_system(fd)
                return
            for fd in places.values():
                system.flush_descriptor(fd)
        except OSError as error:
            self._error = error


def _failed(item: Item, error: FileError) -> Result:
    """Return the result of an item that fails with its group."""
    return Result.failure(error.code, item.entry.name, error.text)
