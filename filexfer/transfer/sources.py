"""What is to be sent: the sources of a command, walked into a stream of offers.

This module must not know connections or questions.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic

from filexfer.entry import FILE, FOLDER, LINK, SPECIAL, Extent
from filexfer.errors import Code, FileError
from filexfer.names import join, link_stays_inside, shown
from filexfer.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from filexfer.entry import Entry
    from filexfer.storage.contract import Readable, Reader

LARGE = 32 << 20  # bytes of a file
LARGE_WEIGHT = 20  # files that it counts as
_DEPTH = 3  # folders below a source at which shares are told apart


class Source:
    """A file or folder to be sent.

    Args:
        storage: Where it is.
        name: Its name there; ``""`` is the root.
        wire_name: Its name for the receiver.
        fresh: Whether nothing of that name is there, so that no question is needed.

    """

    __slots__ = ("fresh", "name", "storage", "wire_name")

    def __init__(self, storage: Readable, name: str, wire_name: str, *, fresh: bool) -> None:
        self.storage = storage
        self.name = name
        self.wire_name = wire_name
        self.fresh = fresh


class Offer:
    """One entry of a source on its way: asked about, sent, or waiting to be settled.

    Attributes:
        asked_again: Whether the receiver wanted its digest.
        is_shared: Whether other connections put things into this folder too.
        in_shared: Whether they do so into the folder that it lies in.

    """

    __slots__ = ("asked_again", "entry", "in_shared", "is_shared", "source", "wire_name")

    def __init__(self, source: Source, entry: Entry, wire_name: str) -> None:
        self.source = source
        self.entry = entry
        self.wire_name = wire_name
        self.asked_again = False
        self.is_shared = self.in_shared = False


def walk(
    sources: Iterable[Source],
    report: Report,
    failed: Callable[[FileError], object],
    reading: Callable[[Readable], Reader] | None = None,
    *,
    share: int = 0,
    shares: int = 1,
) -> Generator[Offer]:
    """Yield an offer for everything in the sources.

    Args:
        sources: What is to be sent.
        report: Counts what is found.
        failed: Is called with what cannot be read or is passed over, by its name on the wire.
        reading: Lends access to a storage, so that whoever reads the files finds their folders
            open; by default the walk has its own.
        share: With *shares* above 1, only what lies in folders that fall to this share is
            offered, so that no folder is filled by two connections. Folders whose own folders
            fall to several shares are all offered with share 0.
        shares: Into how many the work is divided.

    """
    for source in sources:
        split = _Split(source, share, shares)
        cut = len(source.name) + 1 if source.name else 0
        prefix = source.wire_name + "/" if source.wire_name else ""

        def tell(error: FileError, source: Source = source, cut: int = cut) -> None:
            failed(FileError(error.code, join(source.wire_name, error.name[cut:]), error.text))

        with _access(source.storage, reading) as reader:
            try:
                for entry in reader.walk(source.name, tell, extent=split.extent):
                    rest = entry.name[cut:]
                    wire_name = prefix + rest if rest else source.wire_name
                    if shares > 1 and not split.has(entry, reader):
                        continue
                    if entry.type != FOLDER:
                        if entry.type != FILE and (refusal := _refusal(entry, wire_name, source)):
                            failed(refusal)
                            continue
                        report.found += 1
                        report.found_bytes += entry.size
                    if wire_name or entry.type != FOLDER:
                        offer = Offer(source, entry, wire_name)
                        if shares > 1:
                            offer.is_shared, offer.in_shared = split.is_shared, split.in_shared
                        yield offer
            except FileError as error:
                tell(error)
    report.add_walks(-1)


@contextmanager
def _access(storage: Readable, reading: Callable[[Readable], Reader] | None) -> Iterator[Reader]:
    """Lend access to a storage that somebody else closes, or open one and close it."""
    reader = reading(storage) if reading else storage.reading()
    try:
        yield reader
    finally:
        if not reading:
            reader.close()


def count(source: Source, most: int) -> int:
    """Return how many files there are in the source, or *most* if there are more.

    A large file counts as several: on a long way one of them is worth several connections, near
    by it is not. What cannot be read does not count.
    """
    reader = source.storage.reading()
    files = 0
    try:
        if reader.has_many(source.name, most):
            return most
        for entry in reader.walk(source.name, lambda _: None):
            if entry.type == FILE:
                files += LARGE_WEIGHT if entry.size >= LARGE else 1
            if files >= most:
                return most
    except FileError:
        pass
    finally:
        reader.close()
    return files


class Survey:
    """Counts what there is in the sources, in small steps beside the transfer that sends it.

    A context manager, which lets the report look ahead by it.

    The transfer walks no faster than it sends, and so would know too late how much there is.

    Args:
        sources: What is to be sent.
        report: Is told.

    """

    def __init__(self, sources: Iterable[Source], report: Report) -> None:
        self._report = report
        self._found = Report()
        self._walk = walk(sources, self._found, lambda _: None)

    def __enter__(self) -> None:
        self._report.look_ahead = self.step

    def __exit__(self, *exc: object) -> None:
        self._report.look_ahead = None
        self.close()

    def step(self, seconds: float) -> None:
        """Go on for about so long."""
        found, until = self._found, monotonic() + seconds
        if not self._report.is_walking:
            self.close()
        for _ in self._walk:
            if monotonic() >= until:
                break
        else:
            if found.is_walking:  # was closed
                return
        self._report.expect(found.found, found.found_bytes, at_least=found.is_walking)

    def close(self) -> None:
        """Close the folders that are open."""
        self._walk.close()


class _Split:
    """Decides by names alone what belongs to one share, so that all walks agree on it.

    What lies at least ``_DEPTH`` folders below the source goes where its folder goes: fewer
    folders are shared then, which cost more, and most of the others' need not be walked.

    Attributes:
        is_shared: Of the entry decided on last, as in its offer.
        in_shared: The same.

    """

    def __init__(self, source: Source, share: int, shares: int) -> None:
        self._source = source
        self._share = share
        self._shares = shares
        self._is_in_shared = False  # whether the folder that the walk is in is shared
        self._leaf: str | None = None  # the folder decided on last, if no other lies in it
        self.is_shared = self.in_shared = False

    def extent(self, folder: str) -> Extent:
        """Return how much of what lies in the folder belongs to this share."""
        is_ours, depth = self._judge(folder)
        if is_ours:
            return Extent.ALL
        return Extent.NOTHING if depth >= _DEPTH or folder == self._leaf else Extent.FOLDERS

    def has(self, entry: Entry, reader: Reader) -> bool:
        """Tell whether the entry belongs to this share; a folder comes before what is in it."""
        if entry.type != FOLDER:
            self.is_shared, self.in_shared = False, self._is_in_shared
            return entry.name != self._source.name or not self._share
        is_ours, depth = self._judge(entry.name)
        if not is_ours and (self._share or depth >= _DEPTH):
            return False
        self.is_shared = self._is_in_shared = depth < _DEPTH and reader.has_folders(entry.name)
        self._leaf = None if self.is_shared else entry.name
        self.in_shared = depth <= _DEPTH  # there is at least this folder in the one above
        return not self._share if self.is_shared else is_ours

    def _judge(self, folder: str) -> tuple[bool, int]:
        """Return whether the folder is of this share, and how deep it lies."""
        if self._shares == 1:
            return True, 0
        parts = folder[len(self._source.name) :].split("/")
        parts = [part for part in parts if part]
        from binascii import crc32  # noqa: PLC0415 - not for one connection; zlib loads slower

        key = crc32("/".join(parts[:_DEPTH]).encode("utf-8", "surrogateescape"))
        return key % self._shares == self._share, len(parts)


def _refusal(entry: Entry, wire_name: str, source: Source) -> FileError | None:
    """Return why the entry is not sent; if it was asked for by itself, that is a failure."""
    if entry.type == SPECIAL:
        code = Code.NOT_REGULAR if entry.name == source.name else Code.PASSED_OVER
        return FileError(code, wire_name, "is a pipe, socket or device")
    if entry.type != LINK:
        return None
    if entry.name == source.name:
        text = f"is a symbolic link, which is not followed; it leads to {shown(entry.extra)}"
        return FileError(Code.NOT_REGULAR, wire_name, text)
    if not link_stays_inside(wire_name, entry.extra, source.wire_name):
        return FileError(Code.PASSED_OVER, wire_name, "is a link that leads out of the folder")
    return None
