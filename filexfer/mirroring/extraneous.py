"""Finds out what a mirror removes: what is at the target, not at the source, and not left out.

Names of the source are held as hashes of 8 bytes; two that are taken for one only keep a file.

This module must not know on which side the source is, or how anything is removed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from unicodedata import normalize

from filexfer.entry import FILE, FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filexfer.choice.judge import Judge
    from filexfer.entry import Entry
    from filexfer.options import Mirror


class Refusal(Exception):  # noqa: N818 - why nothing is removed; goes no further than the report
    """Nothing may be removed; the text says why."""


def extraneous(
    source: Callable[[], Iterator[Entry]],
    target: Iterator[Entry],
    judge: Judge | None,
    mirror: Mirror,
) -> list[str]:
    """Return what of the target is not at the source, the innermost first.

    Args:
        source: Gives what is at the source; may be asked twice.
        target: What is at the target.
        judge: Decides what is left out, and stays.
        mirror: How the user wants it.

    Raises:
        Refusal: if the source is empty, or cannot be read.

    """
    names = _Names(source(), judge)
    if not names.has_taken and not mirror.allow_empty_source:
        raise Refusal("there is nothing at the source (--allow-empty-source deletes all the same)")
    found: list[str] = []
    entered: set[str] = set()  # folders that go only with something in them
    kept: set[str] = set()  # folders with something that stays
    for entry in target:
        if names.note(entry.name):
            continue
        if judge and not _is_taken(judge, entry):
            if entry.type != FOLDER or judge.folder(entry.name).is_left:
                _add_above(entry.name, kept)
                continue
            entered.add(entry.name)
        found.append(entry.name)
    if found and names.has_unseen:
        others = _other_spellings(found, names, source())
        found = [name for name in found if name not in others]
        for name in others:
            kept.add(name)
            _add_above(name, kept)
    return _innermost_first(found, entered, kept)


def _is_taken(judge: Judge, entry: Entry) -> bool:
    if entry.type == FOLDER:
        return judge.folder(entry.name).is_taken
    if entry.type == FILE:
        return judge.file(entry.name, entry.size, entry.mtime).is_taken
    return judge.other(entry.name).is_taken


def _add_above(name: str, folders: set[str]) -> None:
    while (name := name.rpartition("/")[0]) and name not in folders:
        folders.add(name)


def _innermost_first(found: list[str], entered: set[str], kept: set[str]) -> list[str]:
    emptied: set[str] = set()
    ordered = []
    for name in sorted(found, key=lambda each: each.count("/"), reverse=True):
        if name not in kept and (name not in entered or name in emptied):
            ordered.append(name)
            emptied.add(name.rpartition("/")[0])
    return ordered


class _Names:
    """The names at the source, as hashes, and which of them were met at the target."""

    def __init__(self, entries: Iterator[Entry], judge: Judge | None) -> None:
        self.has_taken = False
        found = array("q")
        for entry in entries:
            found.append(hash(entry.name))
            if not self.has_taken:
                self.has_taken = not judge or _is_taken(judge, entry)
        self._hashes = array("q", sorted(found))
        self._seen = bytearray(len(self._hashes))

    @property
    def has_unseen(self) -> bool:
        """Whether not all of them were met."""
        return 0 in self._seen

    def note(self, name: str) -> bool:
        """Tell whether the name is among them, and note that it was met."""
        index = self._index(name)
        if index < 0:
            return False
        self._seen[index] = 1
        return True

    def is_unseen(self, name: str) -> bool:
        """Tell whether the name is among them and was not met."""
        index = self._index(name)
        return index >= 0 and not self._seen[index]

    def _index(self, name: str) -> int:
        key = hash(name)
        index = bisect_left(self._hashes, key)
        return index if index < len(self._hashes) and self._hashes[index] == key else -1


def _other_spellings(extra: Iterable[str], names: _Names, source: Iterator[Entry]) -> set[str]:
    """Return the names that a file system may have in the place of names at the source.

    One that knows no capitals, or writes accents in its own way, shows a file under another name
    than it was given.
    """
    by_fold: dict[str, list[str]] = {}
    for name in extra:
        by_fold.setdefault(_fold(name), []).append(name)
    found: set[str] = set()
    for entry in source:
        if names.is_unseen(entry.name):
            found.update(by_fold.get(_fold(entry.name), ()))
    return found


def _fold(name: str) -> str:
    return normalize("NFC", normalize("NFD", name).casefold())
