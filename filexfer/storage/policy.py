"""What to do with a file whose name is taken: one decision, for questions and for publishing.

This module must not know disks or networks; digests are asked for through a function.
"""

from __future__ import annotations

from enum import StrEnum

from filexfer.entry import FILE, FOLDER, LINK, same_time
from filexfer.errors import Code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.entry import Entry


class Choice(StrEnum):
    """The outcome of a decision."""

    TAKE = "take"  # there is nothing of that name
    REPLACE = "replace"
    IDENTICAL = "identical"
    SKIP = "skip"
    KEEP_BOTH = "keep both"
    WANT_DIGEST = "want digest"
    REFUSE = "refuse"


class Decision:
    """A choice, and for a refusal why."""

    __slots__ = ("choice", "code", "text")

    def __init__(self, choice: Choice, code: str = "", text: str = "") -> None:
        self.choice = choice
        self.code = code
        self.text = text


class Policy:
    """What the sender wishes and what it may.

    Args:
        if_exists: ``error``, ``overwrite``, ``update``, ``skip`` or ``keep-both``.
        checksum: Compare by digest, whatever sizes and times say.
        may_overwrite: Whether existing files may be replaced.
        may_read: Whether it may learn the digest of what is there.

    """

    def __init__(
        self,
        if_exists: str = "error",
        *,
        checksum: bool = False,
        may_overwrite: bool = True,
        may_read: bool = True,
    ) -> None:
        self.if_exists = if_exists
        self.checksum = checksum
        self.may_overwrite = may_overwrite
        self.may_read = may_read

    @property
    def replaces(self) -> bool:
        """Whether what exists may be changed, and shall be."""
        return self.may_overwrite and self.if_exists in ("overwrite", "update")

    def sees_no_change(self, offered: Entry, existing: Entry) -> bool:
        """Tell whether ``decide`` would find two files identical by size and time alone."""
        return (
            offered.mtime == existing.mtime
            and offered.size == existing.size
            and offered.type == existing.type == FILE
            and not (self.checksum or offered.extra)
        )

    def decide(self, offered: Entry, existing: Entry | None, digest: Callable[[], str]) -> Decision:
        """Say what happens to *offered*.

        Args:
            offered: With its digest in ``extra``, if that is known yet.
            existing: What has the name now.
            digest: Gives the digest of *existing*, by the algorithm of the one offered.

        """
        if existing is None:
            return _TAKE
        if FOLDER in (existing.type, offered.type) and existing.type != offered.type:
            if existing.type == FOLDER:
                return Decision(Choice.REFUSE, Code.IS_A_FOLDER, "a folder of that name exists")
            return Decision(Choice.REFUSE, Code.NOT_A_FOLDER, "exists and is not a folder")
        if offered.type == FOLDER:
            return IDENTICAL
        same = self._same(offered, existing, digest)
        if same is None:
            return _WANT_DIGEST
        return IDENTICAL if same else self._different(offered, existing)

    def _same(self, offered: Entry, existing: Entry, digest: Callable[[], str]) -> bool | None:
        """Tell whether the two are identical; None if that takes the digest of the one offered."""
        if offered.type == existing.type == LINK:
            return offered.extra == existing.extra
        if not offered.type == existing.type == FILE or offered.size != existing.size:
            return False
        # Where the digest is known, as it is when a file has come whole, it decides.
        if not (self.checksum or offered.extra) and same_time(offered.mtime, existing.mtime):
            return True
        if not self.may_read or self.if_exists == "skip":
            return False
        return offered.extra == digest() if offered.extra else None

    def _different(self, offered: Entry, existing: Entry) -> Decision:
        if self.if_exists == "skip":
            return _SKIP
        if self.if_exists == "keep-both":
            return _KEEP_BOTH
        if self.if_exists == "update" and (
            offered.mtime <= existing.mtime or same_time(offered.mtime, existing.mtime)
        ):
            return _SKIP
        if self.if_exists in ("overwrite", "update"):
            if self.may_overwrite:
                return _REPLACE
            return Decision(
                Choice.REFUSE,
                Code.DENIED,
                "exists and differs; this server does not let you overwrite",
            )
        return Decision(Choice.REFUSE, Code.EXISTS, "exists and differs")


_TAKE = Decision(Choice.TAKE)
_REPLACE = Decision(Choice.REPLACE)
IDENTICAL = Decision(Choice.IDENTICAL)
_SKIP = Decision(Choice.SKIP)
_KEEP_BOTH = Decision(Choice.KEEP_BOTH)
_WANT_DIGEST = Decision(Choice.WANT_DIGEST)
