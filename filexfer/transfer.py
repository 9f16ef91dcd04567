"""Runs one upload or download over one or several connections of the same server.

With several, the work is shared out file by file, and folders get their modes and times only when
everything in them is there.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

import threading

from filexfer import protocol
from filexfer.entry import FOLDER
from filexfer.errors import Code, ConnectionLost, FileError, FilexferError
from filexfer.landing import Placement
from filexfer.receiver import Receiver
from filexfer.sender import Sender
from filexfer.sources import walk
from filexfer.storage.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.options import Options
    from filexfer.protocol import Folder as FolderMessage
    from filexfer.report import Report
    from filexfer.sources import Offer, Source
    from filexfer.storage.folder import Folder
    from filexfer.storage.stream import StreamTarget


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
    _together(
        door, connection, options, lambda each, _: _send(each, options, report, lambda _: shared)
    )
    _send(connection, options, report, lambda _: iter(shared.folders))


def get(
    door: Door,
    connection: Connection,
    folder: Folder,
    targets: dict[str, str],
    options: Options,
    report: Report,
) -> None:
    """Receive what has the names in *targets* into *folder*, under the local names there.

    Raises:
        NetworkError, RefusedError: if a connection fails; files that fail are in the report.
        IntegrityError: if the server sends what was not asked for.

    """
    policy = Policy(options.if_exists, checksum=options.checksum)
    fresh = all(local and folder.find(local) is None for local in targets.values())
    held: list[FolderMessage] = []

    def receive(each: Connection, share: int) -> None:
        wanted = list(targets)
        while wanted:
            names, wanted = wanted[:_NAMES], wanted[_NAMES:]
            each.send(
                protocol.Get(
                    names=names,
                    hash=options.algorithm,
                    fresh=fresh,
                    share=share,
                    shares=options.jobs,
                )
            )
            with folder.staging(policy, options.durability) as staging:
                receiver = Receiver(each, staging, report, Placement(targets))
                if options.jobs > 1:
                    receiver.held_folders = held
                receiver.run()

    if options.jobs == 1:
        receive(connection, 0)
        return
    _together(door, connection, options, receive)
    with folder.staging(policy, options.durability) as staging:
        Receiver(connection, staging, report, Placement(targets)).make_folders(held)


def get_stream(
    connection: Connection, name: str, target: StreamTarget, options: Options, report: Report
) -> None:
    """Receive the one file *name* into a stream."""
    connection.send(protocol.Get(names=[name], hash=options.algorithm, fresh=True))
    Receiver(connection, target, report, Placement({name: name})).run()


_NAMES = 40  # asked for in one frame; each may have a thousand bytes


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


def _together(
    door: Door, first: Connection, options: Options, work: Callable[[Connection, int], None]
) -> None:
    """Do *work* on several connections at once, each in a thread; raise the first failure."""
    failures: list[BaseException] = []
    connections = [first]

    def run(connection: Connection, share: int) -> None:
        try:
            work(connection, share)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failures.append(error)
            for each in connections:
                each.interrupt()

    try:
        for _ in range(1, options.jobs):
            connections.append(door.open())
        threads = [
            threading.Thread(target=run, args=(connection, share), daemon=True)
            for share, connection in enumerate(connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for connection in connections[1:]:
            connection.close()
    if failures:
        raise failures[0]
