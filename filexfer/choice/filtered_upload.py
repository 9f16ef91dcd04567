"""The sources of an upload with a filter: stand-ins for their storages that show what is taken.

Whatever walks a source goes through them, so that everybody who divides the work sees the same.

This module must not know connections, or what the filter says.
"""

from __future__ import annotations

import os

from filexfer.choice.judge import IGNORE_MAX, Judge, Verdict
from filexfer.entry import FILE, FOLDER, Extent
from filexfer.errors import Code, FileError, UsageError
from filexfer.names import join
from filexfer.storage.delegating import Delegating

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from filexfer.choice.filter import Filter
    from filexfer.entry import Entry
    from filexfer.options import Options
    from filexfer.storage.contract import Readable, Reader
    from filexfer.transfer.sources import Source

    Tell = Callable[[FileError], object]


def check(paths: Sequence[str], options: Options) -> None:
    """Refuse a list of names of anything but one folder, and a mirror of files.

    Raises:
        UsageError: if it is that.

    """
    listed = options.filter and options.filter.names is not None
    if listed and (len(paths) != 1 or not os.path.isdir(paths[0])):
        raise UsageError("names are listed of one folder alone")
    if options.mirror and any(os.path.exists(p) and not os.path.isdir(p) for p in paths):
        raise UsageError("only folders can be mirrored")


def choose(sources: Sequence[Source], options: Options, rights: Iterable[str]) -> list[FileError]:
    """Let the filter decide what is taken of the sources.

    Args:
        sources: Are changed for it.
        options: Have it.
        rights: What the server lets us do.

    Returns:
        Of the names that the filter lists, those that are not there, by their names on the wire.

    Raises:
        UsageError, RefusedError: if a mirror is wished and cannot be.

    """
    if options.mirror:
        from filexfer.mirroring import requirements  # noqa: PLC0415 - seldom needed

        requirements.check([source.wire_name for source in sources], rights, ("list", "delete"))
    missing: list[FileError] = []
    chosen = options.filter
    if chosen is None:
        return missing
    for source in sources:
        storage = source.storage
        source.storage = made = FilteredStorage(storage, source.name, chosen)
        reader = storage.reading()
        try:
            for name in chosen.names or ():
                try:
                    reader.stat(join(source.name, name))
                except FileError as error:
                    missing.append(FileError(error.code, join(source.wire_name, name), error.text))
            made.look_ahead(reader)
        finally:
            reader.close()
    return missing


class FilteredStorage:
    """A storage of which one source shows what is taken of it.

    Args:
        storage: Where it is.
        top: The source's name there.
        chosen: Says what is taken.

    """

    def __init__(self, storage: Readable, top: str, chosen: Filter) -> None:
        self.storage = storage
        self.top = top
        self._chosen = chosen
        self.made_late: frozenset[str] = frozenset()  # folders that are needed for what is in them

    def look_ahead(self, reader: Reader) -> None:
        """Find out which folders are needed only for what is in them.

        It is done once, before the work is divided: who walks a share does not see all of it.
        """
        judge = self.judge(reader)
        if not judge.may_make_folders_late or self.is_file(reader):
            return
        needed: set[str] = set()

        def extent(folder: str) -> Extent:
            return Extent.NOTHING if judge.folder(self.below(folder)).is_taken else Extent.ALL

        for entry in _Reader(reader, self, judge).walk(self.top, lambda _: None, extent=extent):
            above = self.below(entry.name).rpartition("/")[0]
            while above and above not in needed:
                needed.add(above)
                above = above.rpartition("/")[0]
        self.made_late = frozenset(needed)

    def reading(self) -> Reader:
        """Return access for one sender."""
        reader = self.storage.reading()
        return _Reader(reader, self, self.judge(reader))

    def judge(self, reader: Reader) -> Judge:
        """Return what decides, which reads ignore files by *reader*."""

        def ignored(name: str) -> bytes | None:
            return _contents(reader, join(self.top, name))

        return Judge(self._chosen, ignored)

    def below(self, name: str) -> str:
        """Return a name in the storage as one below the source."""
        return name[len(self.top) + 1 :] if self.top else name

    def is_file(self, reader: Reader) -> bool:
        """Tell whether the source is no folder."""
        try:
            return reader.stat(self.top).type != FOLDER
        except FileError:
            return True


class _Reader(Delegating):
    """Access to a storage; shows what is taken."""

    def __init__(self, reader: Reader, storage: FilteredStorage, judge: Judge) -> None:
        super().__init__(reader)
        self._reader = reader
        self._storage = storage
        self._judge = judge

    def stat(self, name: str) -> Entry:
        """Return what *name* is; a source that is left out fails for that reason."""
        entry = self._reader.stat(name)
        if name == self._storage.top and entry.type != FOLDER:
            verdict = self._verdict(entry)
            if verdict.is_left:
                raise FileError(Code.LEFT_OUT, name, verdict.reason)
        return entry

    def walk(
        self,
        name: str,
        report: Tell,
        *,
        recursive: bool = True,
        extent: Callable[[str], Extent] = lambda _: Extent.ALL,
    ) -> Iterator[Entry]:
        """Yield what is taken of *name* and all below it; *report* hears of the rest too."""
        judge, below = self._judge, self._storage.below

        def narrowed(folder: str) -> Extent:
            try:
                if judge.folder(below(folder)).is_left:
                    return Extent.NOTHING
                judge.load(below(folder))
            except FileError as error:
                report(error)
                return Extent.NOTHING
            return extent(folder)

        for entry in self._reader.walk(name, report, recursive=recursive, extent=narrowed):
            verdict = self._verdict(entry)
            if verdict.is_taken or (entry.type == FOLDER and self._is_needed(entry, verdict)):
                yield entry
            elif verdict.reason:
                above = entry.name.rpartition("/")[0] if entry.name != name else name
                if extent(above) is Extent.ALL:  # in one share of several
                    report(FileError(Code.LEFT_OUT, entry.name, verdict.reason))

    def has_many(self, name: str, least: int) -> bool:
        """Return False: each has to be looked at."""
        del name, least
        return False

    def _verdict(self, entry: Entry) -> Verdict:
        name = self._storage.below(entry.name)
        if entry.type == FOLDER:
            return self._judge.folder(name)
        name = name or entry.name.rpartition("/")[2]
        if entry.type == FILE:
            return self._judge.file(name, entry.size, entry.mtime)
        return self._judge.other(name)

    def _is_needed(self, entry: Entry, verdict: Verdict) -> bool:
        """Tell whether a folder that is entered is made, for what is in it."""
        name = self._storage.below(entry.name)
        return verdict.is_entered and (not name or name in self._storage.made_late)


def _contents(reader: Reader, name: str) -> bytes | None:
    """Return what is in an ignore file; None if it is no file.

    Raises:
        FileError: if it cannot be read.

    """
    try:
        entry = reader.stat(name)
        if entry.type != FILE:
            return None
        data = reader.read(entry, IGNORE_MAX)
    except FileError as error:
        if error.code in (Code.NOT_FOUND, Code.NOT_A_FOLDER):
            return None
        raise
    if data is None:
        raise FileError(Code.TOO_LARGE, name, f"is larger than {IGNORE_MAX:,} bytes")
    return data
