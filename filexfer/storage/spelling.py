"""Names that some file systems take for one: of any case of letters, in any form of accents.

This module must not know who offers the names, or what follows.
"""

from __future__ import annotations

import os
import sys
from array import array
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LOOKED_AT = 1000  # names in a folder
_KEPT_MAX = 1 << 18  # names; beyond them, nobody's memory is for whoever offers more
_USED_MAX = 0.6  # of the places


def folded(name: str) -> str:
    """Return what all spellings of a name have in common."""
    if name.isascii():
        return name.lower()
    from unicodedata import normalize  # noqa: PLC0415 - seldom needed

    return normalize("NFC", normalize("NFD", name).casefold())


def folds(folder: int, path: str) -> bool:
    """Tell whether a folder's file system takes all spellings of a name for one.

    That is found out without writing: something that is there is looked for by another case.
    Where nothing is there, it is guessed from the system. Folders below may differ.

    Args:
        folder: Its descriptor.
        path: Its path.

    """
    try:
        with os.scandir(folder) as found:
            for each in islice(found, _LOOKED_AT):
                if (other := _swapped(each.name)) != each.name:
                    return _is_same(each.name, other, folder)
        above, part = os.path.split(path)
        if (other := _swapped(part)) != part:
            return _is_same(path, os.path.join(above, other))
    except OSError:
        pass  # nobody may look
    return sys.platform == "darwin"


def _swapped(name: str) -> str:
    """Return a name in the other case, where every file system agrees on that."""
    return "".join(each.swapcase() if each.isascii() else each for each in name)


def _is_same(one: str, other: str, folder: int | None = None) -> bool:
    first = os.stat(one, dir_fd=folder, follow_symlinks=False)
    try:
        return os.path.samestat(first, os.stat(other, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


class Spellings:
    """The names that were offered, as far as others may yet collide with them.

    Names come in the order of a walk. So only those in the folders above the last one are kept,
    each in 27 to 54 bytes; if they are very many, collisions with the last of them go unseen.

    Args:
        existing: Returns what is in a folder already, as far as that may be known.

    """

    def __init__(self, existing: Callable[[str], Iterable[str]] = lambda _: ()) -> None:
        self._existing = existing
        self._open: list[tuple[str, _Table]] = []  # innermost last

    def add(self, name: str) -> str:
        """Take in a name; return what it collides with.

        Returns:
            ``same`` if it was offered before or exists, ``other`` if another spelling, else "".

        """
        above, _, part = name.rpartition("/")
        tables = self._open
        while tables and tables[-1][0] != above:
            outer = tables[-1][0]
            if not outer or above.startswith(outer + "/"):
                break
            tables.pop()
        if not tables or tables[-1][0] != above:
            tables.append((above, _Table()))
            for each in self._existing(above):
                self._add(each)
        return self._add(part)

    def _add(self, part: str) -> str:
        is_full = sum(len(table) for _, table in self._open) >= _KEPT_MAX
        return self._open[-1][1].add(hash(folded(part)), hash(part), keep=not is_full)


class _Table:
    """Pairs of hashes, without an object for each."""

    __slots__ = ("_keys", "_mask", "_used", "_values")

    def __init__(self) -> None:
        self._used = 0
        self._make(8)

    def __len__(self) -> int:
        return self._used

    def add(self, key: int, value: int, *, keep: bool) -> str:
        """Add a pair, unless there is one of that key; say what its value was."""
        key = key or 1  # 0 marks a free place
        at = self._place(key)
        if self._keys[at]:
            return "same" if self._values[at] == value else "other"
        if not keep:
            return ""
        self._keys[at], self._values[at] = key, value
        self._used += 1
        if self._used > _USED_MAX * len(self._keys):
            keys, values = self._keys, self._values
            self._make(2 * len(keys))
            for old, its in zip(keys, values, strict=True):
                if old:
                    at = self._place(old)
                    self._keys[at], self._values[at] = old, its
        return ""

    def _make(self, size: int) -> None:
        self._keys, self._values = array("q", bytes(8 * size)), array("q", bytes(8 * size))
        self._mask = size - 1

    def _place(self, key: int) -> int:
        """Return where the key is, or could be put."""
        keys, mask = self._keys, self._mask
        at = key & mask
        while keys[at] and keys[at] != key:
            at = (at + 1) & mask
        return at
