"""A place for one file whose digest was known beforehand: nothing else appears in it.

This module must not know where the digest was had from.
"""

from __future__ import annotations

from filexfer.entry import FILE
from filexfer.errors import Code, FileError
from filexfer.names import shown
from filexfer.storage.delegating import Delegating, DelegatingTarget
from filexfer.storage.policy import Choice, Decision

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.entry import Entry
    from filexfer.storage.contract import Item, Target, Writer


def check(digest: str, expected: str, name: str) -> None:
    """Raise FileError if a digest is not the one expected."""
    if digest != expected:
        raise FileError(Code.HASH_MISMATCH, name, f"has the digest {shown(digest)}, not {expected}")


class Expecting(DelegatingTarget):
    """A target that takes one file, by its digest.

    What has come is verified against the digest that its sender named before it is put here; so
    that one need only be compared.

    Args:
        target: Where it goes.
        digest: ``algorithm:hex``.

    """

    def __init__(self, target: Target, digest: str) -> None:
        super().__init__(target)
        self._digest = digest

    def judge(self, offered: Entry, tick: Callable[[], object]) -> Decision:
        """Say what would happen to *offered*, without doing it."""
        try:
            self._check_type(offered)
            if offered.extra:
                check(offered.extra, self._digest, offered.name)
        except FileError as error:
            return Decision(Choice.REFUSE, error.code, error.text)
        return self._target.judge(offered, tick)

    def small(self, entry: Entry, data: memoryview) -> Item:
        """Write a file whose bytes are at hand and verified."""
        check(entry.extra, self._digest, entry.name)
        return self._target.small(entry, data)

    def begin(self, entry: Entry) -> _Writer:
        """Begin a file."""
        return _Writer(self._target.begin(entry), self._digest)

    def link(self, entry: Entry) -> Item:
        """Refuse: a link has no digest."""
        self._check_type(entry)
        return self._target.link(entry)

    def make_folder(self, entry: Entry, *, is_shared: bool = False) -> Item:
        """Refuse: a folder has no digest."""
        self._check_type(entry)
        return self._target.make_folder(entry, is_shared=is_shared)

    def _check_type(self, entry: Entry) -> None:
        if entry.type != FILE:
            text = "is no file: only a file has the digest that is expected"
            raise FileError(Code.NOT_REGULAR, entry.name, text)


class _Writer(Delegating):
    """A file being written, whose digest is known at its end."""

    def __init__(self, writer: Writer, digest: str) -> None:
        super().__init__(writer)
        self._writer = writer
        self._digest = digest

    def finish(self, entry: Entry) -> Item:
        """Return it ready to be published; of another digest, nothing of it is left."""
        try:
            check(entry.extra, self._digest, entry.name)
        except FileError:
            self.discard()
            raise
        return self._writer.finish(entry)
