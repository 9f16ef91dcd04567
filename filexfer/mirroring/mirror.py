"""Removes at the target what the source has not, after a transfer in which nothing failed.

This module must not know how the transfer went about its work, or what the filter says.
"""

from __future__ import annotations

import os

from filexfer.choice.above import finish
from filexfer.choice.filtered_upload import FilteredStorage
from filexfer.entry import FOLDER
from filexfer.errors import Code, FileError, UsageError
from filexfer.mirroring.extraneous import Refusal, extraneous
from filexfer.mirroring.requirements import check
from filexfer.names import join
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.transfer.sources import Offer
from filexfer.transfer.upload import send
from filexfer.wire import protocol, requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TypeVar

    from filexfer.entry import Entry
    from filexfer.options import Mirror, Options
    from filexfer.planning.plan import Plan
    from filexfer.report import Report
    from filexfer.storage.contract import Reader
    from filexfer.transfer.landing import Download
    from filexfer.transfer.sources import Source
    from filexfer.wire.connection import Connection

    T = TypeVar("T")


# Upload


def _extra_up(
    connection: Connection, sources: Sequence[Source], mirror: Mirror
) -> Iterator[tuple[Source, list[str]]]:
    """Yield for each source what is extra on the server, by names below it; the innermost first.

    Raises:
        NetworkError: if the connection fails.
        FileError: if the server does not tell what is there.
        Refusal: if nothing may be removed.

    """
    for source in sources:
        filtered = source.storage if isinstance(source.storage, FilteredStorage) else None
        made = (filtered.storage if filtered else source.storage).reading()
        judge = filtered.judge(made) if filtered else None
        side = _Local(made, source.name)
        there = _listing(connection, source.wire_name)
        try:
            yield source, extraneous(side.entries, there, judge, mirror)
        finally:
            made.close()


def up(connection: Connection, sources: Sequence[Source], options: Options, report: Report) -> None:
    """Remove on the server what the sources have not.

    Raises:
        NetworkError: if the connection fails; what could not be removed is in the report.

    """
    mirror = options.mirror
    if not mirror or _has_failed(report):
        return
    touched: list[Offer] = []
    for source, names in _allowed(_extra_up(connection, sources, mirror), mirror, report):
        whole = [join(source.wire_name, name) for name in names]
        messages = [protocol.Remove(name=name) for name in whole]
        for name, error in zip(whole, requests.carry_out_all(connection, messages), strict=True):
            _note(name, error, report)
        touched += _folders_of(source, names)
    if touched:
        send(connection, options, report, lambda _: iter(touched))


def plan_up(connection: Connection, sources: Sequence[Source], mirror: Mirror, plan: Plan) -> None:
    """Tell the plan what would be removed on the server.

    Raises:
        NetworkError: if the connection fails.

    """
    if not _has_failed(plan):
        for source, names in _allowed(_extra_up(connection, sources, mirror), mirror, plan):
            for name in names:
                plan.doom(join(source.wire_name, name))


def _folders_of(source: Source, names: Iterable[str]) -> list[Offer]:
    """Return the folders that something was removed from, to get their times again."""
    offers = []
    reader = source.storage.reading()
    try:
        for folder in sorted({name.rpartition("/")[0] for name in names}, reverse=True):
            wire_name = join(source.wire_name, folder)
            try:
                entry = reader.stat(join(source.name, folder))
            except FileError:
                continue  # it was removed too
            if wire_name:
                offers.append(Offer(source, entry, wire_name))
    finally:
        reader.close()
    return offers


class _Local:
    """A source here."""

    def __init__(self, reader: Reader, top: str) -> None:
        self._reader = reader
        self._cut = len(top) + 1 if top else 0
        self._top = top

    def entries(self) -> Iterator[Entry]:
        """Yield what lies in it, by names below it."""
        for entry in self._reader.walk(self._top, _fail):
            if entry.name != self._top:
                entry.name = entry.name[self._cut :]
                yield entry


def _fail(error: FileError) -> None:
    raise Refusal(f"{error}")


# Download


def check_mapping(mapping: Download, rights: Iterable[str]) -> None:
    """Refuse a download that cannot be mirrored.

    Raises:
        UsageError, RefusedError: as ``check`` does; and for what is no folder.

    """
    if any(entry.type != FOLDER for entry in mapping.entries):
        raise UsageError("only folders can be mirrored")
    check(mapping.targets.values(), rights, ("list",))


def target(mapping: Download) -> Folder:
    """Return the folder that the download goes into; the caller closes it."""
    return Folder(mapping.root or ".")


def _extra_down(
    connection: Connection, folder: Folder, mapping: Download, mirror: Mirror
) -> Iterator[tuple[str, list[str]]]:
    """Yield for each source what is extra here, as for an upload."""
    for name, local in mapping.targets.items():
        judge = mapping.judges.of(name) if mapping.judges else None
        here = folder.list(local, recursive=True) if folder.find(local) else iter(())

        def there(name: str = name) -> Iterator[Entry]:
            return requests.listing(connection, name, recursive=True)

        yield name, extraneous(there, here, judge, mirror)


def down(
    connection: Connection, folder: Folder, mapping: Download, options: Options, report: Report
) -> None:
    """Remove here what the sources have not.

    Raises:
        NetworkError: if the connection fails; what could not be removed is in the report.

    """
    mirror = options.mirror
    if not mirror or _has_failed(report):
        return
    for top, names in _allowed(_extra_down(connection, folder, mapping, mirror), mirror, report):
        local = mapping.targets[top]
        for name in names:
            whole = join(local, name)
            try:
                folder.remove(whole)
            except FileError as error:
                _note(whole, error, report)
            else:
                _note(whole, None, report)
        touched = sorted({name.rpartition("/")[0] for name in names}, reverse=True)
        found = requests.stat(connection, [join(top, each) for each in touched])
        entries = []
        for each in touched:
            entry = found[join(top, each)]
            if entry and entry.type == FOLDER and join(local, each):
                entry.name = join(local, each)
                entries.append(entry)
        finish(folder, entries, Policy(options.if_exists), report)


def plan_down(connection: Connection, mapping: Download, mirror: Mirror, plan: Plan) -> None:
    """Tell the plan what would be removed here.

    Raises:
        NetworkError: if the connection fails.

    """
    if _has_failed(plan) or not os.path.isdir(mapping.root or "."):
        return
    with target(mapping) as folder:
        for name, names in _allowed(_extra_down(connection, folder, mapping, mirror), mirror, plan):
            for each in names:
                plan.doom(join(mapping.targets[name], each))


# Both ways


def _allowed(
    extra: Iterator[tuple[T, list[str]]], mirror: Mirror, report: Report
) -> list[tuple[T, list[str]]]:
    """Return what is to be removed; if nothing may be, the report says why."""
    try:
        found = list(extra)
    except Refusal as refusal:
        report.undeleted = f"nothing was deleted: {refusal}"
        return []
    count = sum(len(names) for _, names in found)
    if mirror.most is None or count <= mirror.most:
        return found
    report.undeleted = (
        f"nothing was deleted: it would be {count:,} files and folders, and {mirror.most:,} may be"
    )
    return []


def _has_failed(report: Report) -> bool:
    if report.failed:
        report.undeleted = "nothing was deleted, because not everything is there"
    return bool(report.failed)


def _note(name: str, error: FileError | None, report: Report) -> None:
    if error is None:
        report.delete(name)
    elif error.code != Code.NOT_FOUND:  # somebody else was faster
        report.fail(FileError(error.code, name, f"is not at the source; {error.text}"))
    report.progress()


def _listing(connection: Connection, name: str) -> Iterator[Entry]:
    try:
        yield from requests.listing(connection, name, recursive=True)
    except FileError as error:
        if error.code != Code.NOT_FOUND:
            raise
