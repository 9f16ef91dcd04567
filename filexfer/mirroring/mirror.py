"""Removes at the target what the source has not, after a transfer in which nothing failed.

This module must not know how the transfer went about its work, or what the filter says.
"""

from __future__ import annotations

import os

from filexfer.choice.above import finish
from filexfer.choice.chosen import Chosen
from filexfer.entry import FOLDER
from filexfer.errors import Code, FileError, UsageError
from filexfer.mirroring.doomed import Refusal, doomed
from filexfer.mirroring.mirrored import check
from filexfer.names import join
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.transfer.sources import Offer
from filexfer.transfer.upload import send
from filexfer.wire import protocol, requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from filexfer.entry import Entry
    from filexfer.options import Mirror, Options
    from filexfer.planning.plan import Plan
    from filexfer.report import Report
    from filexfer.storage.contract import Readable, Reader
    from filexfer.transfer.landing import Download
    from filexfer.transfer.sources import Source
    from filexfer.wire.connection import Connection


# Upload


def find_up(
    connection: Connection, sources: Sequence[Source], mirror: Mirror, report: Report
) -> list[tuple[Source, list[str]]]:
    """Return for each source what is to be removed, by names below it; the innermost first.

    If nothing may be removed the report says why, and nothing is returned.

    Raises:
        NetworkError: if the connection fails.
        FileError: if the server does not tell what is there.

    """
    found = []
    for source in sources:
        storage: Readable = source.storage
        made = storage.reading() if not isinstance(storage, Chosen) else storage.storage.reading()
        judge = storage.judge(made) if isinstance(storage, Chosen) else None
        side = _Local(made, source.name)
        try:
            names = doomed(side.entries, _listing(connection, source.wire_name), judge, mirror)
        except Refusal as refusal:
            report.undeleted = _because(refusal)
            return []
        finally:
            made.close()
        found.append((source, names))
    return found if _are_few([names for _, names in found], mirror, report) else []


def up(connection: Connection, sources: Sequence[Source], options: Options, report: Report) -> None:
    """Remove on the server what the sources have not.

    Raises:
        NetworkError: if the connection fails; what could not be removed is in the report.

    """
    if not options.mirror or _has_failed(report):
        return
    touched: list[Offer] = []
    for source, names in find_up(connection, sources, options.mirror, report):
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
        for source, names in find_up(connection, sources, mirror, plan):
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


def find_down(
    connection: Connection, folder: Folder, mapping: Download, mirror: Mirror, report: Report
) -> list[tuple[str, list[str]]]:
    """Return for each source what is to be removed here, by names below it; the innermost first.

    If nothing may be removed the report says why, and nothing is returned.

    Raises:
        NetworkError: if the connection fails.
        FileError: if the server does not tell what is there.

    """
    found = []
    for name, local in mapping.targets.items():
        judge = mapping.judges.of(name) if mapping.judges else None
        here = folder.list(local, recursive=True) if folder.find(local) else iter(())

        def there(name: str = name) -> Iterator[Entry]:
            return requests.listing(connection, name, recursive=True)

        try:
            found.append((name, doomed(there, here, judge, mirror)))
        except Refusal as refusal:
            report.undeleted = _because(refusal)
            return []
    return found if _are_few([names for _, names in found], mirror, report) else []


def down(
    connection: Connection, folder: Folder, mapping: Download, options: Options, report: Report
) -> None:
    """Remove here what the sources have not.

    Raises:
        NetworkError: if the connection fails; what could not be removed is in the report.

    """
    if not options.mirror or _has_failed(report):
        return
    for top, names in find_down(connection, folder, mapping, options.mirror, report):
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
        for name, names in find_down(connection, folder, mapping, mirror, plan):
            for each in names:
                plan.doom(join(mapping.targets[name], each))


# Both ways


def _because(refusal: Refusal) -> str:
    return f"nothing was deleted: {refusal}"


def _has_failed(report: Report) -> bool:
    if report.failed:
        report.undeleted = "nothing was deleted, because not everything is there"
    return bool(report.failed)


def _are_few(found: Iterable[list[str]], mirror: Mirror, report: Report) -> bool:
    count = sum(map(len, found))
    if mirror.most is None or count <= mirror.most:
        return True
    report.undeleted = (
        f"nothing was deleted: it would be {count:,} files and folders, and {mirror.most:,} may be"
    )
    return False


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
