"""What a transfer spared or removed, and what it was planned to do: a part of its report.

This module must not know why anything is left out, or how it is removed.
"""

from __future__ import annotations

from filexfer.errors import Code, FileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from filexfer.planning.planned import PlanEntry


class Spared:
    """What was left out, and what was removed at the target.

    Attributes:
        left_out: Files and folders that the filter left out; what is in these folders is not
            counted.
        deleted: Files, links and folders that were removed at the target, which the source has not.
        to_delete: What would be removed there, by the plan.
        undeleted: Why nothing was removed though it was asked for, for people; else empty.
        on_left_out: Is called with the name of what the filter left out, and why.
        on_deleted: Is called with the name of what was removed at the target.
        on_plan: Is called with the ``PlanEntry`` of each name, where a plan is made.
        on_mapping: Is called before that with each source, and what it lands as, for people.
        to_send: Files and links that would be sent, by the plan.
        to_send_bytes: Their sizes in bytes.
        to_make: Folders that would be made or brought up to date.
        remarks: What the plan has found that may go wrong elsewhere, and is no failure here.
        is_plan: Whether nothing was transferred; then what is counted as skipped, failed and left
            out (that also has what was passed over) is what would have been.

    """

    warnings: list[FileError]
    is_branch = False  # then what is left out is counted where the branch comes back
    left_out = deleted = to_delete = 0
    undeleted = ""
    on_left_out: Callable[[str, str], object] | None = None
    on_deleted: Callable[[str], object] | None = None
    on_plan: Callable[[PlanEntry], object] | None = None
    on_mapping: Callable[[str, str], object] | None = None
    to_send = to_send_bytes = to_make = 0
    remarks: Sequence[FileError] = ()
    is_plan = False

    def leave_out(self, name: str, reason: str) -> None:
        """Count what the filter left out."""
        if self.is_branch:
            self.warnings.append(FileError(Code.LEFT_OUT, name, reason))
            return
        self.left_out += 1
        if self.on_left_out:
            self.on_left_out(name, reason)

    def delete(self, name: str) -> None:
        """Count what was removed at the target."""
        self.deleted += 1
        if self.on_deleted:
            self.on_deleted(name)
