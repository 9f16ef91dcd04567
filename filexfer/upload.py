"""Runs one upload over one or several connections to the same server.

With several, each walks the sources and sends its share of the folders. Folders that several of
them fill get their modes and times last, when everything in them is there.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

import os

from filexfer import protocol
from filexfer.errors import Code, ConnectionLost, FileError, LocalError
from filexfer.parallel import together
from filexfer.sender import Sender
from filexfer.sources import Source, walk
from filexfer.storage.folder import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.entry import Entry
    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.sources import Offer


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

    def send(each: Connection, share: int, shares: int, report: Report) -> None:
        def offers(sender: Sender) -> Iterator[Offer]:
            for offer in walk(sources, report, sender.fail, share=share, shares=shares):
                if offer.is_shared:
                    shared.append(offer)
                else:
                    yield offer

        _send(each, options, report, offers)

    shares = options.jobs or 1
    if shares == 1:
        _send(connection, options, report, lambda sender: walk(sources, report, sender.fail))
        return
    together(door, connection, report, shares, send)
    for offer in shared:
        offer.is_shared = offer.in_shared = False
    _send(connection, options, report, lambda _: iter(shared))


def _send(
    connection: Connection,
    options: Options,
    report: Report,
    offers: Callable[[Sender], Iterator[Offer]],
) -> None:
    connection.send(protocol.Put(if_exists=options.if_exists, checksum=options.checksum))
    if not report.stats:
        sender = Sender(connection, report, algorithm=options.algorithm)
        _run(sender, report, offers(sender))
        return
    from filexfer import timed  # noqa: PLC0415 - only for who asked for it

    with timed.exchange(connection, report.stats) as tools:
        sender = Sender(
            connection, report, algorithm=options.algorithm, hashes=tools, reading=tools.reading
        )
        _run(sender, report, tools.walking(offers(sender)))


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
