"""Runs one download over one connection.

This module must not know retries, other connections, or how sources and destinations were chosen.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

from filexfer.errors import Code, FileError
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging
from filexfer.transfer.landing import Placement
from filexfer.transfer.receiver import Receiver
from filexfer.wire import protocol
from filexfer.wire.schema import written_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filexfer.measure.timed import Tools
    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.storage.contract import Target
    from filexfer.storage.stream import StreamTarget
    from filexfer.transfer.landing import Download as Mapping
    from filexfer.transfer.later import Laters
    from filexfer.wire.connection import Connection
    from filexfer.wire.protocol import Folder as FolderMessage

_NAMES_BYTES = 60_000  # asked for in one frame, as written


def get(connection: Connection, mapping: Mapping, options: Options, report: Report) -> None:
    """Receive what the mapping says, to where it says.

    Raises:
        NetworkError, RefusedError: if the connection fails; files that fail are in the report.
        IntegrityError: if the server sends what was not asked for.
        LocalError: if the destination cannot be used.

    """
    with begun(mapping, options, report) as download:
        if download:
            download.run(connection, report)


@contextmanager
def begun(mapping: Mapping, options: Options, report: Report) -> Iterator[Download | None]:
    """Report what is missing, and open the destination for the rest, if there is any."""
    for name in mapping.missing:
        report.fail(FileError(Code.NOT_FOUND, name, "no such file or folder on the server"))
    if not mapping.targets:
        yield None
        return
    with Folder(mapping.root or ".", make=True) as folder:
        download = Download(folder, mapping.targets, options, mapping)
        if not mapping.above:
            yield download
            return
        from filexfer.choice.above import standing  # noqa: PLC0415 - seldom needed

        with standing(folder, mapping.above, download.policy, report):
            yield download


class Download:
    """One download, or a share of one for each connection.

    Args:
        folder: Where it goes.
        targets: Names on the server, and the local ones.
        options: How.
        mapping: Says what is taken, if not everything is.

    """

    def __init__(
        self,
        folder: Folder,
        targets: dict[str, str],
        options: Options,
        mapping: Mapping | None = None,
    ) -> None:
        self.folder = folder
        self._targets = targets
        self._options = options
        self.policy = Policy(options.if_exists, checksum=options.checksum)
        self._fresh = all(local and folder.find(local) is None for local in targets.values())
        self._kind: Callable[..., Receiver] = Receiver
        if mapping and mapping.judges:
            from filexfer.choice.filtering_receiver import FilteringReceiver  # noqa: PLC0415 - seldom needed

            self._fresh = False
            self._kind = partial(FilteringReceiver, judges=mapping.judges)

    def run(
        self,
        connection: Connection,
        report: Report,
        share: int = 0,
        shares: int = 1,
        *,
        laters: Laters | None = None,
        shared: dict[str, FolderMessage] | None = None,
    ) -> None:
        """Receive one share.

        Args:
            connection: Where from.
            report: Is brought up to date.
            share: Its number.
            shares: How many there are.
            laters: Takes large files, which are only named then.
            shared: Takes the folders that other connections fill too, to be finished last.

        """
        frames = list(in_frames(self._targets))
        report.add_walks(len(frames) - 1)
        for names in frames:
            connection.send(
                protocol.Get(
                    names=names,
                    hash=self._options.algorithm,
                    fresh=self._fresh,
                    share=share,
                    shares=shares,
                    by_range=laters.least if laters else 0,
                )
            )
            with self._receiver(connection, report) as receiver:
                receiver.later = laters
                receiver.shared_folders = shared
                receiver.run()

    def finish_folders(
        self, connection: Connection, report: Report, folders: Iterable[FolderMessage]
    ) -> None:
        """Give the folders that several connections filled their modes and times."""
        with self._receiver(connection, report) as receiver:
            receiver.finish_folders(folders)

    @contextmanager
    def _receiver(self, connection: Connection, report: Report) -> Iterator[Receiver]:
        place, options = Placement(self._targets), self._options
        if not report.stats:
            with Staging(self.folder, self.policy, options.durability) as staging:
                target = _expecting(staging, options)
                yield self._kind(connection, target, report, place, options.algorithm)
            return
        from filexfer.measure import timed  # noqa: PLC0415 - only for who asked for it

        with (
            timed.exchange(connection, report.stats) as tools,
            tools.staging(self.folder, self.policy, options.durability) as staging,
        ):
            target = _expecting(staging, options)
            more = (report, place, options.algorithm)
            yield _measured(tools, connection, target, *more, kind=self._kind)


def _expecting(target: Target, options: Options) -> Target:
    """Return a target that takes only what is expected, if anything is."""
    if not options.expect:
        return target
    from filexfer.storage.expected import Expecting  # noqa: PLC0415 - seldom needed

    return Expecting(target, options.expect)


def _measured(
    tools: Tools,
    connection: Connection,
    target: Target,
    report: Report,
    place: Placement,
    algorithm: str,
    *,
    kind: Callable[..., Receiver] = Receiver,
) -> Receiver:
    return kind(
        connection,
        tools.target(target),
        report,
        place,
        algorithm,
        hashes=tools,
        publisher=tools.publisher,
    )


def in_frames(names: Iterable[str]) -> Iterator[list[str]]:
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
    connection: Connection, name: str, stream: StreamTarget, options: Options, report: Report
) -> None:
    """Receive the one file *name* into a stream."""
    target = _expecting(stream, options)
    connection.send(protocol.Get(names=[name], hash=options.algorithm, fresh=True))
    place = Placement({name: name})
    if not report.stats:
        Receiver(connection, target, report, place, options.algorithm).run()
        return
    from filexfer.measure import timed  # noqa: PLC0415 - only for who asked for it

    with timed.exchange(connection, report.stats) as tools:
        _measured(tools, connection, target, report, place, options.algorithm).run()
