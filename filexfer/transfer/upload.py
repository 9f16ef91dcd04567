"""Runs one upload over one connection.

This module must not know retries, other connections, or how sources and destinations were chosen.
"""

from __future__ import annotations

import os

from filexfer.errors import Code, ConnectionLost, FileError, LocalError
from filexfer.storage.folder import Folder
from filexfer.transfer.sender import Sender
from filexfer.transfer.sources import Source, walk
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filexfer.entry import Entry
    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.transfer.sources import Offer
    from filexfer.wire.connection import Connection


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
    connection: Connection, sources: Sequence[Source], options: Options, report: Report
) -> None:
    """Send the sources.

    Raises:
        NetworkError, RefusedError: if the connection fails; files that fail are in the report.

    """
    send(
        *(connection, options, report),
        lambda sender: walk(sources, report, sender.fail, sender.reader),
    )


def send(
    connection: Connection,
    options: Options,
    report: Report,
    offers: Callable[[Sender], Iterator[Offer]],
    later_from: int = 0,
) -> list[Offer]:
    """Run one exchange.

    Args:
        connection: Where to.
        options: How.
        report: Is brought up to date.
        offers: Gives what there is to send.
        later_from: Bytes of a file from which it is only named; 0 sends all.

    Returns:
        What was only named.

    """
    connection.send(protocol.Put(if_exists=options.if_exists, checksum=options.checksum))
    if not report.stats:
        sender = Sender(connection, report, algorithm=options.algorithm)
        sender.only_name(later_from)
        _run(sender, report, offers(sender))
        return sender.later
    from filexfer.measure import timed  # noqa: PLC0415 - only for who asked for it

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
    except (ConnectionLost, KeyboardInterrupt):
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
