"""Runs one upload over one or several connections to the same server.

With several, the files are shared out one by one, and folders get their modes and times only when
everything in them is there.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

import os
import threading

from filexfer import protocol
from filexfer.entry import FOLDER
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
    if options.jobs == 1:
        _send(connection, options, report, lambda sender: walk(sources, report, sender.fail))
        return
    shared = _Shared(walk(sources, report, report.refuse))
    together(
        door,
        connection,
        options,
        lambda each, *_: _send(each, options, report, lambda _: shared, is_alone=False),
    )
    _send(connection, options, report, lambda _: iter(shared.folders))


def _send(
    connection: Connection,
    options: Options,
    report: Report,
    offers: Callable[[Sender], Iterator[Offer]],
    *,
    is_alone: bool = True,
) -> None:
    connection.send(protocol.Put(if_exists=options.if_exists, checksum=options.checksum))
    sender = Sender(connection, report, algorithm=options.algorithm)
    try:
        sender.run(offers(sender), is_alone=is_alone)
    except ConnectionLost:
        report.doubt(sender.uncertain)
        raise


class _Shared:
    """Offers that several senders take from; folders are held back."""

    def __init__(self, offers: Iterator[Offer]) -> None:
        self._offers = offers
        self._lock = threading.Lock()  # guards _offers
        self.folders: list[Offer] = []

    def __iter__(self) -> _Shared:
        return self

    def __next__(self) -> Offer:
        with self._lock:
            for offer in self._offers:
                if offer.entry.type != FOLDER:
                    return offer
                self.folders.append(offer)
        raise StopIteration


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
