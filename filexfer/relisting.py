"""What a listing has named, as far as it takes to go on with another one when it is cut off.

A server names the entries of a folder in whatever order its file system has them, so nobody can
say where in a second listing the first one ended. Therefore the names in the folders that are open
are kept, as hashes; a folder that was left has been listed to its end.

This module must not know connections, or what entries are for.
"""

from __future__ import annotations

from array import array

from filexfer.entry import FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.entry import Entry

    # A folder's name with a slash (that of all is empty), the hashes of what was named in it, and
    # of these what an earlier listing has named.
    Open = tuple[str, array[int], frozenset[int]]


class Relisting:
    """Tells what is new in a listing that is begun anew.

    What lies in a folder must follow it, as it does in every listing.
    """

    def __init__(self) -> None:
        self._open: list[Open] = []  # innermost last
        self._cut: dict[str, array[int]] = {}  # that were open when a listing was cut off
        self._over = "/"  # a folder that was listed to its end before; no name begins like this

    def begin(self) -> None:
        """Note that a listing begins, and that those before were cut off."""
        self._cut.update((folder, named) for folder, named, _ in self._open)
        self._open.clear()
        self._over = "/"

    def is_new(self, entry: Entry) -> bool:
        """Note an entry, and tell whether no earlier listing has named it."""
        name = entry.name
        if name.startswith(self._over):
            return False
        _, named, before = self._found(name[: name.rfind("/") + 1])
        key = hash(name)
        is_new = key not in before
        if is_new:
            named.append(key)
        if entry.type == FOLDER:
            if is_new or name + "/" in self._cut:
                self._enter(name + "/")
            else:
                self._over = name + "/"
        return is_new

    def _found(self, folder: str) -> Open:
        """Return a folder, and close those that it is not in."""
        while self._open and not folder.startswith(self._open[-1][0]):
            self._open.pop()
        if not self._open or self._open[-1][0] != folder:
            self._enter(folder)
        return self._open[-1]

    def _enter(self, folder: str) -> None:
        named = self._cut.pop(folder, None)
        before = frozenset(named or ())
        self._open.append((folder, array("q") if named is None else named, before))
