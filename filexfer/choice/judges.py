"""Decides about the names of several sources, as the sender of a download calls them.

This module must not know connections, or where anything lands.
"""

from __future__ import annotations

from filexfer.choice.judge import Judge
from filexfer.entry import FILE, FOLDER
from filexfer.errors import IntegrityError
from filexfer.names import join, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from filexfer.choice.filter import Filter
    from filexfer.choice.judge import Verdict


class Judges:
    """One judge for each source.

    Args:
        tops: The sources by name; whether they are folders.
        chosen: What the user has said.
        ignored: The contents of the ignore files, by their names.

    """

    def __init__(
        self, tops: Mapping[str, bool], chosen: Filter, ignored: Mapping[str, bytes]
    ) -> None:
        def judge(top: str, *, is_folder: bool) -> Judge:
            if not is_folder:
                return Judge(chosen)
            return Judge(chosen, lambda name: ignored.get(join(top, name)))

        self._judges = {top: judge(top, is_folder=is_folder) for top, is_folder in tops.items()}

    def verdict(self, name: str, type: str, size: int = 0, mtime: int = 0) -> Verdict:  # noqa: A002 - the word of an entry
        """Return what becomes of an entry; without a time, size and time do not count.

        Raises:
            IntegrityError: if it belongs to no source.

        """
        judge, below, is_top = self._find(name)
        if type == FOLDER:
            return judge.folder(below)
        if is_top:
            below = name.rpartition("/")[2]
        if type == FILE and mtime:
            return judge.file(below, size, mtime)
        return judge.other(below)

    def of(self, top: str) -> Judge | None:
        """Return the judge of a source, if it is one."""
        return self._judges.get(top)

    def is_left(self, name: str) -> bool:
        """Tell whether a name is left out, whatever it is."""
        return self.verdict(name, FOLDER).is_left and self.verdict(name, "").is_left

    def is_top(self, name: str) -> bool:
        """Tell whether it is a source itself."""
        return name in self._judges

    def _find(self, name: str) -> tuple[Judge, str, bool]:
        top = name
        while True:
            judge = self._judges.get(top)
            if judge:
                return judge, name[len(top) + 1 :] if top else name, top == name
            if not top:
                raise IntegrityError(f"the server sent {shown(name)}, which was not asked for")
            top = top.rpartition("/")[0]
