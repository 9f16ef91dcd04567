"""Runs one upload over one or several connections to the same server.

With several, each walks the sources and sends its share of the folders. Folders that several of
them fill get their modes and times last, when everything in them is there.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

import os

from filexfer import pieces, protocol
from filexfer.entry import FILE, Entry
from filexfer.errors import Code, ConnectionLost, FileError, LocalError
from filexfer.parallel import together
from filexfer.push import push
from filexfer.sender import Sender
from filexfer.sources import Offer, Source, walk
from filexfer.storage.folder import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.options import Options
    from filexfer.push import Item
    from filexfer.report import Report


LITTLE_COUNT = 50  # files and folders, which are walked once more
LITTLE_SIZE = 256 << 10  # bytes of those that are not large


def find_sources(
    paths: Sequence[str],
    names: Sequence[str],
    there: dict[str, Entry | None],
    storages: dict[str, Folder],
) -> tuple[list[Source], list[FileError]]:
    """Open what is to be sent.

    Args:
        paths: Local files and folders; links in the paths themselves are followed.
        names: What each is called on the server.
        there: What is known to be on the server.
        storages: Takes the folders that were opened; the caller closes them.

    Returns:
        The sources, and the failures of those that cannot be read.

    """
    sources: list[Source] = []
    failures: list[FileError] = []
    for path, name in zip(paths, names, strict=True):
        fresh = name in there and there[name] is None
        try:
            sources.append(_source(path, name, storages, fresh=fresh))
        except FileError as error:
            failures.append(error)
    return sources, failures


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
    in_pieces = pieces.are_worth_it(connection, options)
    items, walked = _large(sources, report) if in_pieces else ([], sources)

    def send(each: Connection, share: int, shares: int, report: Report) -> list[Item]:
        def offers(sender: Sender) -> Iterator[Offer]:
            for offer in walk(walked, report, sender.fail, share=share, shares=shares):
                if offer.is_shared:
                    shared.append(offer)
                else:
                    yield offer

        later = _send(each, options, report, offers, pieces.LEAST if in_pieces else 0)
        return [_item(sources, offer) for offer in later]

    shares = options.jobs or 1
    if shares == 1:
        send(connection, 0, 1, report)
        return
    if walked:
        is_little = in_pieces and _is_little(walked)
        done = (
            {0: send(connection, 0, 1, report)}
            if is_little
            else together(door, connection, report, shares, send)
        )
        items += [item for share in sorted(done) for item in done[share]]
    if items:
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
        _send(connection, options, report, offers)


def _send(
    connection: Connection,
    options: Options,
    report: Report,
    offers: Callable[[Sender], Iterator[Offer]],
    later_from: int = 0,
) -> list[Offer]:
    """Run one exchange; return what was only named."""
    connection.send(protocol.Put(if_exists=options.if_exists, checksum=options.checksum))
    if not report.stats:
        sender = Sender(connection, report, algorithm=options.algorithm)
        sender.only_name(later_from)
        _run(sender, report, offers(sender))
        return sender.later
    from filexfer import timed  # noqa: PLC0415 - only for who asked for it

    with timed.exchange(connection, report.stats) as tools:
        sender = Sender(
            connection, report, algorithm=options.algorithm, hashes=tools, reading=tools.reading
        )
        sender.only_name(later_from)
        _run(sender, report, tools.walking(offers(sender)))
    return sender.later


def _run(sender: Sender, report: Report, offers: Iterator[Offer]) -> None:
    try:
        sender.run(offers)
    except ConnectionLost:
        report.doubt(sender.uncertain)
        raise


def _source(path: str, name: str, storages: dict[str, Folder], *, fresh: bool) -> Source:
    try:
        is_folder = os.path.isdir(path)
        if not is_folder:
            os.stat(path)
        root, part = (path, "") if is_folder else os.path.split(os.path.realpath(path))
        if root not in storages:
            storages[root] = Folder(root)
    except OSError as error:
        raise FileError.from_os(error, path) from error
    except ValueError as error:
        raise FileError(Code.BAD_NAME, path, str(error)) from error
    except LocalError as error:
        raise FileError(Code.UNREADABLE, path, str(error)) from error
    return Source(storages[root], part, name, fresh=fresh)
