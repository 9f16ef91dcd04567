"""Runs one download over one or several connections to the same server.

With several, each gets its share of the folders. Folders that several of them fill get their modes
and times last, when everything in them is there.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

from contextlib import contextmanager

from filexfer import protocol
from filexfer.landing import Placement
from filexfer.parallel import together
from filexfer.receiver import Receiver
from filexfer.schema import written_size
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.options import Options
    from filexfer.protocol import Folder as FolderMessage
    from filexfer.report import Report
    from filexfer.storage.contract import Target
    from filexfer.storage.folder import Folder
    from filexfer.storage.stream import StreamTarget
    from filexfer.timed import Tools

_NAMES_BYTES = 60_000  # asked for in one frame, as written


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
    shared: dict[str, FolderMessage] = {}  # the first share has them all

    def receive(each: Connection, share: int, shares: int, report: Report) -> None:
        for names in _in_frames(targets):
            each.send(
                protocol.Get(
                    names=names,
                    hash=options.algorithm,
                    fresh=fresh,
                    share=share,
                    shares=shares,
                )
            )
            with _receiver(each, folder, policy, options, report, targets) as receiver:
                if not share:
                    receiver.shared_folders = shared
                receiver.run()

    shares = options.jobs or 1
    if shares == 1:
        receive(connection, 0, 1, report)
        return
    together(door, connection, report, shares, receive)
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
