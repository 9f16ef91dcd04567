"""What a transfer spared or removed: a part of its report.

This module must not know why anything is left out, or how it is removed.
"""

from __future__ import annotations

from filexfer.errors import Code, FileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Spared:
    """What was left out, and what was removed at the target.

    Attributes:
        left_out: Files and folders that the filter left out; what is in these folders is not
            counted.
        deleted: Files, links and folders that were removed at the target, which the source has not.
        undeleted: Why nothing was removed though it was asked for, for people; else empty.
        on_left_out: Is called with the name of what the filter left out, and why.
        on_deleted: Is called with the name of what was removed at the target.

    """

    warnings: list[FileError]
    is_branch = False  # then what is left out is counted where the branch comes back
    left_out = deleted = 0
    undeleted = ""
    on_left_out: Callable[[str, str], object] | None = None
    on_deleted: Callable[[str], object] | None = None

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
