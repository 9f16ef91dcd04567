"""Runs one upload over several connections to the same server.

Each walks the sources and sends its share of the folders. Folders that several of them fill get
their modes and times last, when everything in them is there. On a long way large files move in
pieces, over all connections.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

from filexfer.entry import FILE, Entry
from filexfer.errors import FileError
from filexfer.shared import pieces
from filexfer.shared.parallel import together
from filexfer.transfer.sources import Offer, walk
from filexfer.transfer.upload import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.shared.push import Item
    from filexfer.transfer.sender import Sender
    from filexfer.transfer.sources import Source
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

LITTLE_COUNT = 50  # files and folders, which are walked once more
LITTLE_SIZE = 256 << 10  # bytes of those that are not large


def put(
    door: Door,
    connection: Connection,
    sources: Sequence[Source],
    options: Options,
    report: Report,
) -> None:
    """Send the sources.

    Raises:
        NetworkError, RefusedError: if a connection fails; files that fail are in the report.

    """
    shared: list[Offer] = []  # folders that several connections fill; the first share has them all
    in_pieces = pieces.are_worth_it(door, options)
    items, walked = _large(sources, report) if in_pieces else ([], sources)

    def work(each: Connection, share: int, shares: int, report: Report) -> list[Item]:
        def offers(sender: Sender) -> Iterator[Offer]:
            found = walk(walked, report, sender.fail, sender.reader, share=share, shares=shares)
            for offer in found:
                if offer.is_shared:
                    shared.append(offer)
                else:
                    yield offer

        later = send(each, options, report, offers, pieces.LEAST if in_pieces else 0)
        return [_item(sources, offer) for offer in later]

    if not walked:
        report.add_walks(-1)
    if walked and in_pieces and _is_little(walked):
        items += work(connection, 0, 1, report)
    elif walked:
        done = together(door, connection, report, options.jobs or 1, work)
        items += [item for share in sorted(done) for item in done[share]]
    if items:
        from filexfer.shared.push import push  # noqa: PLC0415 - for large files far away

        push(door, connection, sources, items, options, report)
    _finish_folders(connection, sources, shared, items, options, report)


def _large(sources: Sequence[Source], report: Report) -> tuple[list[Item], list[Source]]:
    """Return the sources that are large files and need no question, and all others."""
    items, others = [], []
    for source in sources:
        reader = source.storage.reading()
        try:
            entry = reader.stat(source.name) if source.fresh and source.name else None
            if entry and entry.type == FILE and entry.size >= pieces.LEAST:
                file = reader.large(entry)
                is_sparse = file.sparse
                file.close()
                if not is_sparse:
                    items.append(_item(sources, Offer(source, entry, source.wire_name)))
                    report.found += 1
                    report.found_bytes += entry.size
                    continue
        except FileError:
            pass  # the walk finds out and tells
        finally:
            reader.close()
        others.append(source)
    return items, others


def _is_little(sources: Sequence[Source]) -> bool:
    """Tell whether there is so little besides large files that one connection is enough for it."""
    count = size = 0
    for source in sources:
        reader = source.storage.reading()
        try:
            for entry in reader.walk(source.name, lambda _: None):
                count += 1
                size += entry.size if entry.size < pieces.LEAST else 0
                if count > LITTLE_COUNT or size > LITTLE_SIZE:
                    return False
        except FileError:
            return False
        finally:
            reader.close()
    return True


def _item(sources: Sequence[Source], offer: Offer) -> Item:
    entry = offer.entry
    place = sources.index(offer.source)
    return place, entry.name, offer.wire_name, entry.size, entry.mtime, entry.mode


def _finish_folders(
    connection: Connection,
    sources: Sequence[Source],
    shared: list[Offer],
    items: list[Item],
    options: Options,
    report: Report,
) -> None:
    """Send modes and times of the folders that several connections filled."""
    for offer in shared:
        offer.is_shared = offer.in_shared = False

    def offers(sender: Sender) -> Iterator[Offer]:
        yield from shared
        for place, name, wire_name, *_ in items:
            sender.finish_folder_of(Offer(sources[place], Entry(name, FILE), wire_name))

    if shared or any(name != sources[place].name for place, name, *_ in items):
        send(connection, options, report, offers)
