"""Runs one download over one or several connections to the same server.

With several, each gets its share of the folders. Folders that several of them fill get their modes
and times last, when everything in them is there.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

from contextlib import contextmanager

from filexfer import pieces, protocol
from filexfer.entry import FILE, Entry
from filexfer.landing import Placement
from filexfer.later import Laters
from filexfer.parallel import together
from filexfer.pull import pull
from filexfer.receiver import Receiver
from filexfer.schema import written_size
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.options import Options
    from filexfer.protocol import Folder as FolderMessage
    from filexfer.report import Report
    from filexfer.storage.contract import Target
    from filexfer.storage.folder import Folder
    from filexfer.storage.stream import StreamTarget
    from filexfer.timed import Tools

    Parts = tuple[list[tuple[str, str, int, int, int]], list[tuple[str, int, int]]]

_NAMES_BYTES = 60_000  # asked for in one frame, as written


def get(
    door: Door,
    connection: Connection,
    folder: Folder,
    targets: dict[str, str],
    options: Options,
    report: Report,
    *,
    entries: Collection[Entry | None] = (None,),
) -> None:
    """Receive what has the names in *targets* into *folder*, under the local names there.

    Args:
        door: Opens further connections.
        connection: The one that is open.
        folder: Where it goes.
        targets: Names on the server, and the local ones.
        options: How.
        report: Is brought up to date.
        entries: What these names are on the server, as far as it is known.

    Raises:
        NetworkError, RefusedError: if a connection fails; files that fail are in the report.
        IntegrityError: if the server sends what was not asked for.

    """
    policy = Policy(options.if_exists, checksum=options.checksum)
    fresh = all(local and folder.find(local) is None for local in targets.values())
    shared: dict[str, FolderMessage] = {}  # the first share has them all
    least = pieces.LEAST if pieces.are_worth_it(connection, options) else 0

    def receive(each: Connection, share: int, shares: int, report: Report) -> Parts:
        laters = Laters(least)
        for names in _in_frames(targets):
            each.send(
                protocol.Get(
                    names=names,
                    hash=options.algorithm,
                    fresh=fresh,
                    share=share,
                    shares=shares,
                    by_range=least,
                )
            )
            with _receiver(each, folder, policy, options, report, targets) as receiver:
                receiver.later = laters if least else None
                if not share:
                    receiver.shared_folders = shared
                receiver.run()
        return laters.parts()

    shares = options.jobs or 1
    if shares == 1:
        receive(connection, 0, 1, report)
        return
    if least and all(entry and _is_large(entry) for entry in entries):
        done = {0: receive(connection, 0, 1, report)}
    else:
        done = together(door, connection, report, shares, receive)
    wanted: list[tuple[str, Entry]] = []
    for files, folders in done.values():
        for name, local, size, mtime, mode in files:
            wanted.append((name, Entry(local, FILE, size, mtime, mode)))
        for name, mtime, mode in folders:
            shared.setdefault(name, protocol.Folder(name=name, mtime=mtime, mode=mode))
    if wanted:
        pull(door, connection, folder, wanted, options, report)
    with _receiver(connection, folder, policy, options, report, targets) as receiver:
        receiver.finish_folders(shared.values())


@contextmanager
def _receiver(
    connection: Connection,
    folder: Folder,
    policy: Policy,
    options: Options,
    report: Report,
    targets: dict[str, str],
) -> Iterator[Receiver]:
    """Return what receives one exchange into the folder."""
    place = Placement(targets)
    if not report.stats:
        with Staging(folder, policy, options.durability) as staging:
            yield Receiver(connection, staging, report, place, options.algorithm)
        return
    from filexfer import timed  # noqa: PLC0415 - only for who asked for it

    with (
        timed.exchange(connection, report.stats) as tools,
        tools.staging(folder, policy, options.durability) as staging,
    ):
        yield _measured(tools, connection, staging, report, place, options.algorithm)


def _measured(
    tools: Tools,
    connection: Connection,
    target: Target,
    report: Report,
    place: Placement,
    algorithm: str,
) -> Receiver:
    return Receiver(
        connection,
        tools.target(target),
        report,
        place,
        algorithm,
        hashes=tools,
        publisher=tools.publisher,
    )


def _is_large(entry: Entry) -> bool:
    return entry.type == FILE and entry.size >= pieces.LEAST


def _in_frames(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield the names in pieces that fit into a frame each."""
    piece: list[str] = []
    size = 0
    for name in names:
        written = written_size(name) + 20
        if piece and size + written > _NAMES_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(name)
        size += written
    yield piece


def get_stream(
    connection: Connection, name: str, target: StreamTarget, options: Options, report: Report
) -> None:
    """Receive the one file *name* into a stream."""
    connection.send(protocol.Get(names=[name], hash=options.algorithm, fresh=True))
    place = Placement({name: name})
    if not report.stats:
        Receiver(connection, target, report, place, options.algorithm).run()
        return
    from filexfer import timed  # noqa: PLC0415 - only for who asked for it

    with timed.exchange(connection, report.stats) as tools:
        _measured(tools, connection, target, report, place, options.algorithm).run()
