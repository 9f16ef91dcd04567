"""Runs one download over several connections to the same server.

Each gets its share of the folders. Folders that several of them fill get their modes and times
last, when everything in them is there. On a long way large files move in pieces, over all
connections.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

from filexfer.entry import FILE, Entry
from filexfer.shared import pieces
from filexfer.shared.parallel import together
from filexfer.transfer.download import begun
from filexfer.transfer.later import Laters
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.transfer.landing import Download as Mapping
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door
    from filexfer.wire.protocol import Folder

    Parts = tuple[list[tuple[str, str, int, int, int]], list[tuple[str, int, int]]]


def get(
    door: Door, connection: Connection, mapping: Mapping, options: Options, report: Report
) -> None:
    """Receive what the mapping says, to where it says.

    Args:
        door: Opens further connections.
        connection: The one that is open.
        mapping: What goes where.
        options: How.
        report: Is brought up to date.

    Raises:
        NetworkError, RefusedError: if a connection fails; files that fail are in the report.
        IntegrityError: if the server sends what was not asked for.
        LocalError: if the destination cannot be used.

    """
    with begun(mapping, options, report) as download:
        if not download:
            return
        least = pieces.LEAST if pieces.are_worth_it(door, options) else 0
        shared: dict[str, Folder] = {}  # the first share has them all

        def work(each: Connection, share: int, shares: int, report: Report) -> Parts:
            laters = Laters(least)
            download.run(
                *(each, report, share, shares),
                laters=laters if least else None,
                shared=None if share else shared,
            )
            return laters.parts()

        if least and all(_is_large(entry) for entry in mapping.entries):
            done = {0: work(connection, 0, 1, report)}
        else:
            done = together(door, connection, report, options.jobs or 1, work)
        if wanted := _wanted(done.values(), shared):
            from filexfer.shared.pull import pull  # noqa: PLC0415 - for large files far away

            report.expect_more(len(wanted), sum(entry.size for _, entry in wanted))
            pull(door, connection, download.folder, wanted, options, report)
        download.finish_folders(connection, report, shared.values())


def _wanted(done: Iterable[Parts], shared: dict[str, Folder]) -> list[tuple[str, Entry]]:
    """Return the files that were only named; the folders they lie in are to be finished too."""
    wanted: list[tuple[str, Entry]] = []
    for files, folders in done:
        for name, local, size, mtime, mode in files:
            wanted.append((name, Entry(local, FILE, size, mtime, mode)))
        for name, mtime, mode in folders:
            shared.setdefault(name, protocol.Folder(name=name, mtime=mtime, mode=mode))
    return wanted


def _is_large(entry: Entry) -> bool:
    return entry.type == FILE and entry.size >= pieces.LEAST
