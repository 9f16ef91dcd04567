"""What a transfer would do: counted while it is found out, and told name by name.

This module must not know how it is found out, or how it is shown.
"""

from __future__ import annotations

from array import array

from filexfer.entry import FILE, FOLDER
from filexfer.errors import FileError
from filexfer.planning.planned import DELETE, LEFT_OUT, REFUSED, SEND, PlanEntry
from filexfer.report import FAILURES_KEPT, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.entry import Entry


class Plan(Report):
    """The report of a plan while it is made; each name is told once, however many tries it takes.

    Args:
        told: The report of the whole command: who is told, and what takes the result.

    """

    def __init__(self, told: Report) -> None:
        super().__init__(told.on_progress)
        self.on_plan = told.on_plan
        self.started = told.started
        self.remarks: list[FileError] = []
        # Names as hashes, 8 bytes each, which are needed only if the connection is lost.
        self._told = array("q")
        self._told_before: set[int] = set()

    def restart(self) -> None:
        """Begin another try."""
        super().restart()
        self.to_send = self.to_send_bytes = self.to_make = self.left_out = self.to_delete = 0
        self.remarks.clear()
        self._told_before = set(self._told)

    def send(self, name: str, entry: Entry, code: str = "", text: str = "") -> None:
        """Count what would be sent; *code* and *text* say what may go wrong nevertheless."""
        if entry.type == FOLDER:
            self.to_make += 1
        else:
            self.to_send += 1
            self.to_send_bytes += entry.size
        if text and len(self.remarks) < FAILURES_KEPT:
            self.remarks.append(FileError(code, name, text))
        self._tell_plan(PlanEntry(name, SEND, entry.type, entry.size, code, text))

    def skip(self, name: str, entry: Entry, result: str, as_name: str = "") -> None:
        """Count what needs no sending."""
        super().skip(name, entry, result, as_name)
        self._tell_plan(PlanEntry(name, result, entry.type, entry.size))

    def fail(self, error: FileError, size: int = 0) -> None:
        """Count what would fail; *size* in bytes, where that is known."""
        self._refuse(error, FILE if size else "", size)

    def refuse_entry(self, error: FileError, entry: Entry) -> None:
        """Count what would fail."""
        self._refuse(error, entry.type, entry.size)

    def _refuse(self, error: FileError, kind: str, size: int) -> None:
        before = self.failed
        super().fail(error, size)
        if self.failed > before:
            self._tell_plan(PlanEntry(error.name, REFUSED, kind, size, error.code, error.text))

    def warn(self, error: FileError) -> None:
        """Count what is passed over."""
        super().warn(error)
        self.left_out += 1
        self._tell_plan(PlanEntry(error.name, LEFT_OUT, code=error.code, text=error.text))

    def leave_out(self, name: str, reason: str) -> None:
        """Count what is left out."""
        super().leave_out(name, reason)
        self._tell_plan(PlanEntry(name, LEFT_OUT, text=reason))

    def doom(self, name: str) -> None:
        """Count what would be removed at the target."""
        self.to_delete += 1
        self._tell_plan(PlanEntry(name, DELETE))

    def settle(self, told: Report) -> None:
        """Bring the report of the command up to date with what was found out."""
        for name in _TAKEN:
            setattr(told, name, getattr(self, name))

    def settle_failed(self, told: Report) -> None:
        """Do the same where nothing is transferred after it: what would fail is what failed."""
        self.settle(told)
        for name in _ENDED:
            setattr(told, name, getattr(self, name))
        told.is_plan = True

    def _tell_plan(self, entry: PlanEntry) -> None:
        if self.on_plan is None:
            return
        key = hash((entry.name, entry.verdict))
        if key not in self._told_before:
            self._told.append(key)
            self.on_plan(entry)


_TAKEN = ("to_send", "to_send_bytes", "to_make", "remarks")
_ENDED = (
    *("left_out", "to_delete", "undeleted"),
    *("skipped", "skipped_bytes", "failed", "failed_bytes", "failures"),
    *("warnings", "found", "found_bytes"),
)
