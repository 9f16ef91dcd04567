"""How far a transfer is: its phase, and what is confirmed of what there is.

This module must not know how it is shown, what became of each file, or how files travel.
"""

from __future__ import annotations

from filexfer.entry import FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from filexfer.entry import Entry

# The phases of a command. A command of several connections is in that of the slowest.
CONNECTING = "connecting"  # the connection was lost, and another is to come
SCANNING = "scanning"  # looking at what there is; nothing has moved yet
SENDING = "sending"
RECEIVING = "receiving"
VERIFYING = "verifying"  # all is sent, or has come; the last of it is not verified yet
FLUSHING = "flushing"  # all is verified; the last of it is not settled yet
DONE = "done"

AT_WORK = (SENDING, RECEIVING, VERIFYING, FLUSHING)  # the least far first


class Progress:
    """Counts how far a transfer is.

    Args:
        on_progress: Is called with this object whenever something has moved.

    Attributes:
        skipped: Files that needed no sending.
        skipped_bytes: Their sizes in bytes.
        failed: Files and folders that did not arrive.
        failed_bytes: The sizes of those that had been found, in bytes.
        moved: Bytes of files' contents that have travelled, confirmed or not.
        confirmed: Files and links that the receiving side has verified, settled or not.
        confirmed_bytes: Their sizes in bytes.
        partial_bytes: Bytes that the receiving side has of files that it has not whole yet.
        found: Files and links found so far by walking the source.
        found_bytes: Their sizes in bytes.
        entered: The phase that this one is in, without its branches; empty between two.
        look_ahead: If set, finds out more about how much there is, and takes about so many seconds
            for that; may be called at any time, as between two lines of code.
        on_progress: Is called with this object whenever something has moved.

    """

    def __init__(self, on_progress: Callable[[Any], object] | None) -> None:
        self.skipped = self.skipped_bytes = 0
        self.failed = self.failed_bytes = 0
        self.moved = 0
        self.confirmed = self.confirmed_bytes = self.partial_bytes = 0
        self.found = self.found_bytes = 0
        self.entered = ""
        self.look_ahead: Callable[[float], object] | None = None
        self.on_progress = on_progress
        self._sending = self._receiving = self._verifying = self._flushing = 0  # connections
        self._walks = 1  # that are not over
        self._is_known = False  # how much there is in all
        self._idle = SCANNING  # the phase while no connection is at work
        self._expected = (0, 0)  # files and bytes in all, as far as that is known otherwise
        self._most = self._most_bytes = 0  # that were handled at any time

    def begin_again(self, files: int, size: int) -> None:
        """Begin another try; so many files and bytes have arrived for good."""
        self._expected = self.total, self.total_bytes  # and so the most of what was handled
        self.skipped = self.skipped_bytes = self.failed = self.failed_bytes = 0
        self.found = self.found_bytes = self.partial_bytes = 0
        self.confirmed, self.confirmed_bytes = files, size
        self._sending = self._receiving = self._verifying = self._flushing = 0
        self._is_known = not self.is_walking
        self._walks = 1
        self.entered, self._idle = "", CONNECTING
        self.progress()

    def end(self) -> None:
        """Note that all is over."""
        self._is_known = True
        self._idle = DONE
        self.progress()

    @property
    def phase(self) -> str:
        """What is being done, in one word of those at the top of this module."""
        if self._idle == DONE:
            return DONE
        at_work = next((phase for phase in AT_WORK if getattr(self, f"_{phase}")), self._idle)
        if at_work in (SENDING, RECEIVING) and not self.moved:
            return SCANNING
        return at_work

    @property
    def handled(self) -> int:
        """Files and links that need nothing more: confirmed, skipped or failed.

        This and ``handled_bytes`` never become less, also when things are found out again.
        """
        self._most = max(self._most, self.confirmed + self.skipped + self.failed)
        return self._most

    @property
    def handled_bytes(self) -> int:
        """Their bytes, and those that the receiving side has of the others."""
        sizes = self.confirmed_bytes + self.partial_bytes + self.skipped_bytes + self.failed_bytes
        self._most_bytes = max(self._most_bytes, sizes)
        return self._most_bytes

    @property
    def total(self) -> int:
        """Files and links that there are in all, or at least: see ``is_walking``."""
        return max(self._expected[0], self.found, self.handled)

    @property
    def total_bytes(self) -> int:
        """Their sizes in bytes."""
        return max(self._expected[1], self.found_bytes, self.handled_bytes)

    @property
    def is_walking(self) -> bool:
        """Whether there may be more than is known of."""
        return self._walks > 0 and not self._is_known

    def expect(self, files: int, size: int, *, at_least: bool = False) -> None:
        """Note how much there is in all, or at least; *size* in bytes."""
        self._expected = max(self._expected[0], files), max(self._expected[1], size)
        self._is_known = self._is_known or not at_least

    def expect_more(self, files: int, size: int, *, at_least: bool = False) -> None:
        """Note how much there is, or at least, besides what is confirmed, skipped and failed."""
        self.expect(
            files + self.confirmed + self.skipped + self.failed,
            size + self.confirmed_bytes + self.skipped_bytes + self.failed_bytes,
            at_least=at_least,
        )

    def add_walks(self, number: int) -> None:
        """Note that so many more walks find what there is; below 0, that some are over."""
        self._walks += number

    def enter(self, phase: str) -> None:
        """Note that a connection goes over to another phase; empty when it has done its work."""
        if phase != self.entered:
            for name, step in ((self.entered, -1), (phase, 1)):
                if name:
                    setattr(self, f"_{name}", getattr(self, f"_{name}") + step)
            self.entered, self._idle = phase, phase or self._idle
            self.progress()

    def lose(self) -> None:
        """Note that the connection was lost, and what goes on where it was waits for another."""
        self.enter("")
        self._idle = CONNECTING
        self.progress()

    def confirm(self, entry: Entry) -> None:
        """Count a file that the receiving side has verified."""
        self.confirmed += 1
        self.confirmed_bytes += entry.size

    def retract(self, entry: Entry) -> None:
        """Count it no more: it is skipped or failed in the end."""
        if entry.type != FOLDER:
            self.confirmed -= 1
            self.confirmed_bytes -= entry.size

    def progress(self) -> None:
        """Tell whoever wants to know that something has moved."""
        if self.on_progress:
            self.on_progress(self)
