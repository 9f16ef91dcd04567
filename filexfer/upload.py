"""Runs one upload over one or several connections to the same server.

With several, the files are shared out one by one, and folders get their modes and times only when
everything in them is there.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

import threading

from filexfer import protocol
from filexfer.entry import FOLDER
from filexfer.errors import ConnectionLost
from filexfer.parallel import together
from filexfer.sender import Sender
from filexfer.sources import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.sources import Offer, Source


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
        door, connection, options, lambda each, *_: _send(each, options, report, lambda _: shared)
    )
    _send(connection, options, report, lambda _: iter(shared.folders))


def _send(
    connection: Connection,
    options: Options,
    report: Report,
    offers: Callable[[Sender], Iterator[Offer]],
) -> None:
    connection.send(protocol.Put(if_exists=options.if_exists, checksum=options.checksum))
    sender = Sender(connection, report, algorithm=options.algorithm)
    try:
        sender.run(offers(sender))
    except ConnectionLost:
        report.uncertain += sender.uncertain
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
