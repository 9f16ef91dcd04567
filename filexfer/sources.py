"""What is to be sent: the sources of a command, walked into a stream of offers.

This module must not know connections or questions.
"""

from __future__ import annotations

from zlib import crc32

from filexfer.entry import FILE, FOLDER, LINK, SPECIAL
from filexfer.errors import Code, FileError
from filexfer.names import join, link_stays_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filexfer.entry import Entry
    from filexfer.report import Report
    from filexfer.storage.contract import Readable


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
    """One entry of a source on its way: asked about, sent, or waiting to be settled."""

    __slots__ = ("asked_again", "entry", "source", "wire_name")

    def __init__(self, source: Source, entry: Entry, wire_name: str) -> None:
        self.source = source
        self.entry = entry
        self.wire_name = wire_name
        self.asked_again = False  # the receiver wanted its digest


def walk(
    sources: Iterable[Source],
    report: Report,
    failed: Callable[[FileError], object],
    *,
    share: int = 0,
    shares: int = 1,
) -> Iterator[Offer]:
    """Yield an offer for everything in the sources.

    Args:
        sources: What is to be sent.
        report: Counts what is found.
        failed: Is called with what cannot be read or is passed over, by its name on the wire.
        share: With *shares* above 1, only files whose names fall to this share are offered, and
            folders only with the first.
        shares: Into how many the work is divided.

    """
    for source in sources:
        reader = source.storage.reading()
        cut = len(source.name) + 1 if source.name else 0

        def tell(error: FileError, source: Source = source, cut: int = cut) -> None:
            failed(FileError(error.code, join(source.wire_name, error.name[cut:]), error.text))

        try:
            for entry in reader.walk(source.name, tell):
                wire_name = join(source.wire_name, entry.name[cut:])
                if shares > 1 and _share(entry, wire_name, shares) != share:
                    continue
                if entry.type == FILE:
                    report.find(entry.size)
                elif reason := _reason_to_pass_over(entry, wire_name, source):
                    failed(FileError(Code.PASSED_OVER, wire_name, reason))
                    continue
                if wire_name or entry.type != FOLDER:
                    yield Offer(source, entry, wire_name)
        except FileError as error:
            tell(error)
        finally:
            reader.close()
    report.is_walking = False


def _share(entry: Entry, wire_name: str, shares: int) -> int:
    if entry.type == FOLDER:
        return 0
    return crc32(wire_name.encode("utf-8", "surrogateescape")) % shares


def _reason_to_pass_over(entry: Entry, wire_name: str, source: Source) -> str:
    if entry.type == SPECIAL:
        return "is a pipe, socket or device"
    if entry.type == LINK and not link_stays_inside(wire_name, entry.extra, source.wire_name):
        return "is a link that leads out of the folder"
    return ""
